"""An evaluation as a table: on the terminal, and as Markdown for the model card."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from rich.table import Table

from digits_training.evaluation.evaluator import Evaluation
from digits_training.evaluation.measures import TIME_TOLERANCE_SECONDS
from digits_training.evaluation.strangers import StrangerFigures
from digits_training.evaluation.trials import HESITATION_S

HEADINGS = ("what", "measured", "of", "aim")


@dataclass(frozen=True)
class Figure:
    """One line of the table. The aim is empty where there is none."""

    what: str
    measured: str
    of: str
    aim: str = ""


def list_figures(evaluation: Evaluation) -> list[Figure]:
    """Everything that was measured, in the order of the table."""
    return [
        *_list_word_errors(evaluation),
        *_list_strangers(evaluation.strangers),
        *_list_false_words(evaluation),
        *_list_pauses(evaluation),
    ]


def make_table(figures: Sequence[Figure]) -> Table:
    """For the terminal."""
    table = Table(*HEADINGS)
    for figure in figures:
        table.add_row(*astuple(figure))
    return table


def write_markdown(figures: Sequence[Figure]) -> str:
    """For the model card."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(astuple, figures)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _list_word_errors(evaluation: Evaluation) -> list[Figure]:
    aims = {"clean": "≤ 1 %", "noise at 10 dB": "≤ 4 %"}
    times = evaluation.times
    return [
        *(
            Figure(
                f"word errors, {name}",
                f"{errors.rate:.2%}",
                f"{errors.said} words",
                aims.get(name, ""),
            )
            for name, errors in evaluation.word_errors.items()
        ),
        *(
            Figure(f"word errors, clean, {speaker}", f"{errors.rate:.2%}", f"{errors.said} words")
            for speaker, errors in evaluation.word_errors_by_speaker.items()
        ),
        Figure(
            f"starts within {TIME_TOLERANCE_SECONDS} s",
            _show(times.share_within_tolerance, ".2%"),
            f"{times.words} words, median {_show(times.median_s, '+.3f')} s",
            "≥ 95 %",
        ),
    ]


def _list_strangers(strangers: StrangerFigures) -> list[Figure]:
    return [
        *(
            Figure(
                f"word errors, strangers, {group}",
                f"{errors.rate:.2%}",
                f"{errors.said} words",
                "" if "noise" in group else "≤ 6 %",
            )
            for group, errors in strangers.word_errors.items()
        ),
        *(
            Figure(
                f"word errors of pocketsphinx, strangers, {group}",
                f"{errors.rate:.2%}",
                f"{errors.said} words",
            )
            for group, errors in strangers.word_errors_of_ear.items()
        ),
        Figure(
            "digits for other words by strangers",
            str(strangers.digits_for_other_words),
            f"{strangers.other_words} words",
            "≤ 5 for 100",
        ),
    ]


def _list_false_words(evaluation: Evaluation) -> list[Figure]:
    return [
        Figure(
            "words in silence, noise, music",
            str(evaluation.digits_in_wordless_audio),
            f"{evaluation.wordless_minutes:.0f} minutes",
            "0",
        ),
        Figure(
            "words at onsets of faint noise after exact zeros",
            str(evaluation.digits_at_onsets),
            f"{evaluation.onsets} onsets",
            "0",
        ),
        Figure(
            "digits for other words",
            str(evaluation.digits_for_other_words),
            f"{evaluation.other_words} words",
            "≤ 5 for 100",
        ),
    ]


def _list_pauses(evaluation: Evaluation) -> list[Figure]:
    pauses, hesitations = evaluation.pauses, evaluation.hesitations
    shortest_s, longest_s = HESITATION_S
    turns = f"{pauses.turns} turns"
    return [
        Figure("turns ended once", str(pauses.turns_ended_once), turns, "all"),
        Figure("turns ended never", str(pauses.turns_ended_never), turns, "0"),
        Figure("pauses within turns", str(pauses.pauses_within_turns), turns, "0"),
        Figure(
            "pause after the last word, median",
            f"{_show(pauses.median_s, '.2f')} s",
            f"p95 {_show(pauses.p95_s, '.2f')} s",
            "≤ 0.6 s",
        ),
        Figure("2 s head within words", f"{pauses.share_within_words:.2%}", "of the time", "0"),
        Figure(
            "2 s head between words of a turn",
            f"{pauses.share_between_words:.2%}",
            "of the time",
            "< 0.5 %",
        ),
        *(
            Figure(
                f"{head.length_s:g} s head: gaps predicted",
                f"{head.predicted} of {head.long_gaps}",
                f"false in {head.false_alarms} of {head.shorter_gaps} shorter gaps",
            )
            for head in evaluation.heads
        ),
        Figure(
            "hesitations taken for a pause",
            str(hesitations.taken_for_pauses),
            f"{hesitations.hesitations} hesitations of {shortest_s} to {longest_s} s",
        ),
    ]


def _show(figure: float | None, form: str) -> str:
    return "-" if figure is None else format(figure, form)
