"""A session of many hours keeps no more than a session of one."""

import tracemalloc

import numpy as np
import pytest

from stt_service.engine.options import SessionOptions
from stt_service.engine.session_state import SessionState
from stt_service.engine.turns import MAX_TURN_WORDS
from tests.unit.engine.models import PADDING, YOU, make_frame, make_info

WORDS_UNTIL_CUT = 100_000
# Whole turns, so that as much of one is open before as after.
MORE_WORDS = 10 * MAX_TURN_WORDS
PAUSES = np.zeros(4, dtype=np.float32)


def speak(state: SessionState, words: int) -> None:
    frame = make_frame()
    for _ in range(words):
        for text_id in (YOU, PADDING):
            state.push([frame])
            taken = state.take_frame()
            assert taken is frame
            state.apply(taken, text_id, 1.0, PAUSES)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_its_transcript_is_full_a_session_grows_no_more() -> None:
    state = SessionState("a", SessionOptions(), make_info())
    speak(state, WORDS_UNTIL_CUT)
    tracemalloc.start()
    speak(state, 100)
    before = tracemalloc.get_traced_memory()[0]
    speak(state, MORE_WORDS)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000, f"{grown / MORE_WORDS:.1f} bytes for each word"
