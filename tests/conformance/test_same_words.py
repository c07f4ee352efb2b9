"""The same conversation through every protocol is the same text, at the same times."""

from __future__ import annotations

import pytest

from tests.conformance.protocols import (
    hear_by_gradium,
    hear_by_grpc,
    hear_by_moshi,
    hear_by_openai,
    hear_by_openai_commits,
    hear_by_post,
    hear_by_riva,
    hear_by_stream,
)
from tests.conformance.speech import Speech
from tests.support import Service

# Times travel as microseconds at the finest, Riva's as milliseconds.
TOLERANCE_S = 2e-6
RIVA_TOLERANCE_S = 0.5e-3 + TOLERANCE_S


@pytest.mark.parametrize(
    "hear",
    [
        hear_by_stream,
        hear_by_moshi,
        hear_by_post,
        hear_by_gradium,
        hear_by_openai,
        hear_by_openai_commits,
        hear_by_riva,
    ],
)
async def test_text_turns_and_times(service: Service, speech: Speech, hear):
    told = await hear_by_grpc(service, speech)
    assert told.text == speech.text
    assert told.turns == list(speech.turns)

    heard = await hear(service, speech)
    assert heard.text.split() == told.text.split()
    if heard.turns:
        assert heard.turns == told.turns
    if heard.words:
        tolerance_s = RIVA_TOLERANCE_S if hear is hear_by_riva else TOLERANCE_S
        assert heard.starts_s == pytest.approx(told.starts_s, abs=tolerance_s)
        assert heard.ends_s == pytest.approx(told.ends_s, abs=tolerance_s)
