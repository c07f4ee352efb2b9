from collections.abc import AsyncIterator

import pytest_asyncio

from stt_service.engine.engine import Engine
from tests.integration.engine.harness import Recorder, run_engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(recorder: Recorder) -> AsyncIterator[Engine]:
    """An engine of eight slots on the embedded checkpoint, shared by the tests of a module."""
    async with run_engine(recorder) as running:
        yield running
