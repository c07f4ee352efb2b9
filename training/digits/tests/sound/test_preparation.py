from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from digits_training.sound.clips import Clip, FloatArray
from digits_training.sound.preparation import Script, speak_script

SCRIPT = Script(training=["one", "two"], evaluation=["window"])


class Whisperer:
    """Says every word as noise, another each time."""

    voice = "whisperer"

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        for word in words:
            yield word, rng.normal(0, 0.1, 4_000).astype(np.float32), 24_000


def speak(folder: Path) -> list[Clip]:
    training, evaluation = speak_script(Whisperer(), SCRIPT, np.random.default_rng(1), folder)
    assert [clip.word for clip in training] == SCRIPT.training
    assert [clip.word for clip in evaluation] == SCRIPT.evaluation
    return training + evaluation


def test_what_was_spoken_is_read_again(tmp_path: Path) -> None:
    speak(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    speak(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_stopping_between_the_parts_changes_neither(tmp_path: Path) -> None:
    whole = speak(tmp_path)
    (tmp_path / "whisperer.evaluation.npz").unlink()
    for before, after in zip(whole, speak(tmp_path), strict=True):
        np.testing.assert_array_equal(before.samples, after.samples)
