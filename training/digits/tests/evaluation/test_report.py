import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from digits_training.evaluation.evaluator import Evaluation, TimeFigures, summarize_times
from digits_training.evaluation.measures import (
    HeadFigures,
    HesitationFigures,
    PauseFigures,
    WordErrors,
)
from digits_training.evaluation.report import list_figures, make_table, write_markdown
from digits_training.evaluation.strangers import StrangerFigures


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        word_errors={"clean": WordErrors(1188, 12), "noise at 10 dB": WordErrors(1188, 297)},
        word_errors_by_speaker={"ada": WordErrors(600, 12)},
        times=TimeFigures(1170, 0.995, -0.01, 0.05),
        digits_in_wordless_audio=3,
        wordless_minutes=30.0,
        onsets=100,
        digits_at_onsets=7,
        other_words=300,
        digits_for_other_words=41,
        pauses=PauseFigures(108, 106, 2, 5, 0.55, 0.81, 0.001, 0.002),
        heads=[HeadFigures(0.5, 72, 71, 287, 9)],
        hesitations=HesitationFigures(44, 27),
        confusions=np.eye(11, dtype=np.int64),
        strangers=StrangerFigures(
            word_errors={
                "women, in one breath": WordErrors(200, 9),
                "men, in one breath, noise at 10 dB": WordErrors(200, 26),
            },
            word_errors_by_voice={"kokoro-held-out-woman-1": WordErrors(40, 3)},
            word_errors_of_ear={"women": WordErrors(200, 17)},
            other_words=120,
            digits_for_other_words=6,
        ),
    )


def test_every_figure_is_in_the_table(evaluation: Evaluation) -> None:
    screen = StringIO()
    Console(width=120, file=screen).print(make_table(list_figures(evaluation)))
    table = screen.getvalue()
    for figure in ("1.01%", "25.00%", "2.00%", "99.50%", "3", "7", "41", "106", "0.55 s", "27"):
        assert f" {figure} " in table


def test_the_model_cards_table_is_markdown_with_aims(evaluation: Evaluation) -> None:
    lines = write_markdown(list_figures(evaluation)).splitlines()
    assert lines[:2] == ["| what | measured | of | aim |", "| --- | --- | --- | --- |"]
    assert "| word errors, clean | 1.01% | 1188 words | ≤ 1 % |" in lines
    assert "| word errors, strangers, women, in one breath | 4.50% | 200 words | ≤ 6 % |" in lines
    assert "| word errors of pocketsphinx, strangers, women | 8.50% | 200 words |  |" in lines
    assert "| digits for other words by strangers | 6 | 120 words | ≤ 5 for 100 |" in lines
    assert "| 0.5 s head: gaps predicted | 71 of 72 | false in 9 of 287 shorter gaps |  |" in lines
    assert {line.count("|") for line in lines} == {5}


def test_figures_that_do_not_exist_are_null_in_the_json_and_dashes_in_the_table(
    evaluation: Evaluation,
) -> None:
    deaf = replace(
        evaluation,
        times=summarize_times(np.zeros(0)),
        pauses=replace(evaluation.pauses, median_s=None, p95_s=None),
    )
    figures = json.loads(deaf.to_json(), parse_constant=pytest.fail)
    assert figures["times"]["median_s"] is None
    assert figures["pauses"]["p95_s"] is None
    assert "| pause after the last word, median | - s | p95 - s | ≤ 0.6 s |" in write_markdown(
        list_figures(deaf)
    )
