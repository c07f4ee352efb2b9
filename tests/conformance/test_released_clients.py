"""Other people's clients, as released, in real time: what their users see."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.conformance.released import KINDS, Clients, Report, choose_address, find_python
from tests.conformance.speech import Speech
from tests.support import Service

pytestmark = pytest.mark.skipif(
    find_python() is None, reason="other people's clients are not installed: uv run poe conformance"
)

AT_ONCE = 6
# The file is sent at once; a final each word is all that La Suite's plugin has.
WITHOUT_PARTIALS = ("gradium_sdk_file", "livekit_kyutai")
WITHOUT_TURNS = ("gradium_sdk_file", "livekit_kyutai")
# The others show where a turn starts, or no times.
WITH_TIMES = ("gradium_sdk", "gradium_sdk_file", "livekit_kyutai", "riva_sdk")


@pytest.fixture(scope="module")
def reports(
    clients: Clients, service: Service, speech: Speech
) -> Iterator[dict[str, Future[Report]]]:
    """What each client says, when it is done; some talk at once, since time is real."""

    def talk(kind: str) -> Report:
        return clients[kind].talk(choose_address(kind, service), speech)

    clients.prepare(KINDS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {kind: pool.submit(talk, kind) for kind in KINDS}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_its_user_sees_every_turn_once(
    reports: dict[str, Future[Report]], speech: Speech, kind: str
):
    report = reports[kind].result()
    assert report.errors == [], report.log
    assert report.text == speech.text, report
    if kind not in WITHOUT_TURNS:
        assert [final.strip() for final in report.finals if final.strip()] == list(speech.turns)
    if kind not in WITHOUT_PARTIALS:
        assert report.partials
    if kind in WITH_TIMES:
        assert len(report.starts_s) == len(speech.text.split())
        assert report.starts_s == sorted(report.starts_s)
