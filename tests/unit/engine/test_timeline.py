import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.timeline import SpeechEnd, Timeline
from tests.unit.engine.models import FRAME_S, FRAME_SAMPLES, make_info

audio = np.full(FRAME_SAMPLES, 0.1, dtype=np.float32)


def test_text_runs_behind_the_audio_by_the_delay() -> None:
    timeline = Timeline(make_info(delay_s=0.5))
    for _ in range(20):
        timeline.append_audio(audio)
    assert timeline.heard_s == pytest.approx(20 * FRAME_S)
    assert timeline.text_time_s() == pytest.approx(19 * FRAME_S - 0.5)


def test_the_prefix_takes_no_audio_time() -> None:
    plain = Timeline(make_info())
    prefixed = Timeline(make_info(silence_prefix_s=1.0))
    for _ in range(make_info(silence_prefix_s=1.0).prefix_steps):
        prefixed.append_silence()
    for _ in range(30):
        plain.append_audio(audio)
        prefixed.append_audio(audio)
        assert prefixed.text_time_s() == pytest.approx(plain.text_time_s())


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 15)), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.5, 2.5]),
)
def test_made_up_silence_never_shifts_what_is_said_after_it(runs, delay_s) -> None:
    """A step that hears audio frame n, and the step one delay later, name the same audio time."""
    info = make_info(delay_s=delay_s)
    timeline = Timeline(info)
    frames = 0
    previous_s = 0.0
    for audio_frames, silent_frames in runs:
        for _ in range(audio_frames):
            timeline.append_audio(audio)
        for _ in range(silent_frames):
            timeline.append_silence()
        frames += audio_frames
        assert timeline.heard_s == pytest.approx(frames * FRAME_S)
        assert previous_s <= timeline.text_time_s() <= timeline.heard_s
        previous_s = timeline.text_time_s()
    for _ in range(info.count_steps(delay_s) + 1):
        timeline.append_silence()
    # The delay has passed in silence: the text is about the end of the audio.
    assert timeline.text_time_s() == pytest.approx(timeline.heard_s)


def test_a_partial_frame_counts_its_own_samples_only() -> None:
    timeline = Timeline(make_info(delay_s=0.0))
    timeline.append_audio(audio[:480])
    timeline.append_audio(audio)
    assert timeline.heard_s == pytest.approx(0.02 + FRAME_S)
    assert timeline.text_time_s() == pytest.approx(0.02)


def say(timeline: Timeline, *levels: float) -> None:
    """Append 20 ms of audio at each level, in whole frames."""
    samples = np.repeat(np.array(levels, dtype=np.float32), 480)
    for start in range(0, len(samples), FRAME_SAMPLES):
        timeline.append_audio(samples[start : start + FRAME_SAMPLES])


def test_speech_ends_where_it_falls_silent() -> None:
    timeline = Timeline(make_info())
    say(timeline, *[0.001] * 4, *[0.3] * 10, *[0.001] * 10)
    assert SpeechEnd(timeline, 0.08).find_s() == pytest.approx(14 * 0.02)


def test_a_stop_consonant_is_no_end() -> None:
    timeline = Timeline(make_info())
    say(timeline, *[0.3] * 8, *[0.001] * 4, *[0.3] * 4, *[0.001] * 8)
    assert SpeechEnd(timeline, 0.0).find_s() == pytest.approx(16 * 0.02)


def test_speech_that_goes_on_has_no_end_yet() -> None:
    timeline = Timeline(make_info())
    say(timeline, *[0.3] * 16)
    assert SpeechEnd(timeline, 0.0).find_s() is None


def test_an_end_is_found_while_the_audio_comes() -> None:
    timeline = Timeline(make_info())
    speech_end = SpeechEnd(timeline, 0.08)
    found = []
    for level in (0.001, 0.3, 0.3, 0.001, 0.001, 0.3):
        say(timeline, *[level] * 4)
        found.append(speech_end.find_s())
    assert found == [None, None, None, None, pytest.approx(0.24), pytest.approx(0.24)]
