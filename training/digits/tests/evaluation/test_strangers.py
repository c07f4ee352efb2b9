from collections.abc import Sequence

import numpy as np
import pytest

from digits_training.evaluation.listening import Heard
from digits_training.evaluation.strangers import measure_strangers
from digits_training.evaluation.trials import Trial
from digits_training.sound.clips import ClipBank, Part, cut_at
from digits_training.sound.running import Tally
from digits_training.vocabulary import SAMPLE_RATE_HERTZ
from stt_service.engine.events import Word


def make_bank() -> ClipBank:
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 0.1, 2 * SAMPLE_RATE_HERTZ).astype(np.float32)
    clips = [
        cut_at(
            f"kokoro-held-out-{sex}-1",
            [Part(word, 0.2 + 0.5 * n, 0.6 + 0.5 * n) for n, word in enumerate(words)],
            samples=samples,
            start_s=0.0,
            stop_s=2.0,
        )
        for sex in ("woman", "man")
        for words in (["one", "two", "three"], ["four"], ["window"])
    ]
    return ClipBank(clips)


def listen(name: str, trials: Sequence[Trial]) -> list[Heard]:
    """Understands men, and takes whatever a woman says for a nine."""
    return [
        Heard(
            [
                Word("nine" if "woman" in trial.name else word.text, word.start_s, word.end_s, 1.0)
                for word in trial.words
            ]
        )
        for trial in trials
    ]


def test_women_and_men_are_counted_apart() -> None:
    tally = {
        "kokoro-held-out-woman-1": Tally(10, 9),
        "kokoro-held-out-man-1": Tally(10, 10),
    }
    figures = measure_strangers(listen, make_bank(), tally, seed=1)
    rates = {group: (errors.said, errors.rate) for group, errors in figures.word_errors.items()}
    for name, said in (
        ("in one breath", 3),
        ("in one breath, noise at 10 dB", 3),
        ("digits alone", 1),
    ):
        assert rates[f"women, {name}"] == (said, 1.0)
        assert rates[f"men, {name}"] == (said, 0.0)
    assert figures.word_errors_by_voice["kokoro-held-out-woman-1"].errors == 4
    assert figures.word_errors_by_voice["kokoro-held-out-man-1"].errors == 0
    assert figures.word_errors_of_ear["women"].rate == pytest.approx(0.1)
    assert figures.word_errors_of_ear["men"].rate == 0
    assert (figures.other_words, figures.digits_for_other_words) == (2, 2)
