"""Leave one speaker out: how the training recipe does for a voice that it never heard."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from digits_training.errors import PlanError
from digits_training.evaluation.evaluator import SEED, Evaluator
from digits_training.evaluation.measures import WordErrors, count_word_errors
from digits_training.evaluation.trials import make_digit_strings
from digits_training.sound.clips import ClipBank
from digits_training.training.export import export_checkpoint
from digits_training.training.joint import load_trained
from digits_training.training.plan import TrainingPlan
from digits_training.training.recognizer import train_recognizers

RESULTS_NAME = "left_out.json"


def leave_speakers_out(
    plan: TrainingPlan, recordings: ClipBank, speakers: list[str], console: Console
) -> None:
    """Train a recognizer for each speaker without that speaker, and count the errors on that
    speaker.

    All that the speaker recorded is heard once, in strings of six, those recordings too that other
    runs train on. Each run has a folder of its own and can be resumed. When all are trained they
    are measured, and the rates noted in RESULTS_NAME beside those of earlier calls.
    Raises PlanError for a speaker who recorded nothing.
    """
    unknown = set(speakers) - set(recordings.get_voices(human=True))
    if unknown:
        raise PlanError(f"nobody called {', '.join(sorted(unknown))} is among the recordings")
    runs = {
        speaker: replace(plan, recognizer_name=f"left-out/{speaker}", left_out_voice=speaker)
        for speaker in speakers
    }
    train_recognizers(list(runs.values()))
    results: dict[str, WordErrors] = {}
    for speaker, run in runs.items():
        checkpoint = run.recognizer_dir / "checkpoint"
        export_checkpoint(load_trained(run.design, run.recognizer_dir), run.design, checkpoint)
        bank = recordings.filter(lambda clip, name=speaker: clip.voice == name)
        trials = make_digit_strings(bank, seed=SEED, takes=1)
        with Progress(console=console) as progress:
            heard = Evaluator(checkpoint, progress).listen(speaker, trials)
        results[speaker] = count_word_errors(trials, heard)
        console.print(f"{speaker}: {results[speaker].rate:.1%} of {results[speaker].said} words")
        _note(plan.work_dir / RESULTS_NAME, speaker, results[speaker].rate)
    mean_rate = statistics.fmean(errors.rate for errors in results.values())
    console.print(f"mean: {mean_rate:.1%}")


def _note(path: Path, speaker: str, rate: float) -> None:
    rates: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(rates | {speaker: rate}, indent=1))
