from pathlib import Path

import numpy as np
import pytest

from digits_training.sound.clips import ClipBank, Part, cut_at, cut_clip, find_sound
from digits_training.vocabulary import SAMPLE_RATE_HERTZ


def make_bursts(*bounds_s: tuple[float, float], seconds: float = 2.0) -> np.ndarray:
    samples = np.zeros(int(seconds * SAMPLE_RATE_HERTZ), np.float32)
    for start_s, end_s in bounds_s:
        samples[int(start_s * SAMPLE_RATE_HERTZ) : int(end_s * SAMPLE_RATE_HERTZ)] = 0.2
    return samples


def test_the_sound_of_a_clip_is_found_within_the_width_of_the_envelope() -> None:
    first, last = find_sound(make_bursts((0.5, 0.9)))
    assert first / SAMPLE_RATE_HERTZ == pytest.approx(0.5, abs=0.011)
    assert last / SAMPLE_RATE_HERTZ == pytest.approx(0.9, abs=0.011)


def test_a_closure_does_not_end_a_word() -> None:
    _, last = find_sound(make_bursts((0.5, 0.7), (0.8, 0.85)))
    assert last / SAMPLE_RATE_HERTZ == pytest.approx(0.85, abs=0.011)


def test_a_click_long_after_a_word_does_not_prolong_it() -> None:
    _, last = find_sound(make_bursts((0.5, 0.9), (1.5, 1.51)))
    assert last / SAMPLE_RATE_HERTZ == pytest.approx(0.9, abs=0.011)


def test_a_cut_clip_knows_where_its_sound_is_whatever_the_rate() -> None:
    samples = make_bursts((0.5, 0.9))[::3].copy()
    clip = cut_clip("one", "ada", human=True, samples=samples, rate_hertz=8_000)
    inside = clip.samples[
        int((clip.onset_s + 0.02) * SAMPLE_RATE_HERTZ) : int(
            (clip.end_s - 0.02) * SAMPLE_RATE_HERTZ
        )
    ]
    assert np.abs(inside).min() > 0.3
    assert clip.end_s - clip.onset_s == pytest.approx(0.4, abs=0.03)


def test_a_silent_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="silent"):
        cut_clip("one", "ada", human=True, samples=np.zeros(999, np.float32), rate_hertz=8_000)


def test_a_bank_survives_its_file(bank: ClipBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    loaded = ClipBank.load(tmp_path / "bank.npz")
    assert loaded.get_voices(human=True) == ["ada", "bob"]
    for clip, again in zip(bank.clips, loaded.clips, strict=True):
        assert (clip.word, clip.voice, clip.onset_s) == (again.word, again.voice, again.onset_s)
        np.testing.assert_allclose(again.samples, clip.samples, atol=1e-4)


def test_a_phrase_survives_its_file(tmp_path: Path) -> None:
    samples = make_bursts((0.2, 0.5), (0.6, 0.9), seconds=1.0)
    parts = [Part("one", 0.2, 0.5), Part("two", 0.6, 0.9)]
    clip = cut_at("robot", parts, samples=samples, start_s=0.1, stop_s=1.0)
    ClipBank([clip]).save(tmp_path / "bank.npz")
    (loaded,) = ClipBank.load(tmp_path / "bank.npz").clips
    assert loaded.rest == clip.rest
    assert loaded.rest[0].onset_s == pytest.approx(0.5)
