"""Fixtures of the gateway's tests."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    run_gateway,
    run_scripted,
)
from tests.integration.gateway.watched import WatchedService
from tests.support import run_service


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedService]:
    """An stt-serve of eight slots. Leave no session open on it."""
    path = tmp_path_factory.mktemp("watched") / "stderr.log"
    with path.open("w") as log, run_service("--metrics", "127.0.0.1:0", log=log) as service:
        yield WatchedService(service, path)


@pytest.fixture
async def scripted() -> ScriptedService:
    """A service that answers as a test wants; it runs once a gateway is asked for."""
    return ScriptedService()


@pytest.fixture
async def gateway(scripted: ScriptedService) -> AsyncIterator[RunningGateway]:
    """In front of the scripted service, with its defaults."""
    async with run_scripted(scripted) as endpoint, run_gateway(endpoint) as gateway:
        yield gateway
