"""Browsers, sound for the fake microphone, and gateways with nothing behind them."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import soundfile

from client.rpc.endpoint import Endpoint
from tests.integration.gateway.harness import RunningGateway, free_port, run_gateway
from tests.integration.web.browser import browsers
from tests.support import MODEL_RATE_HERTZ, Recording

TRAIL_S = 3.0


@pytest.fixture(scope="session")
def spoken(recordings: tuple[Recording, ...]) -> Recording:
    """The recording that the microphone hears."""
    return recordings[0]


@pytest.fixture(scope="session")
def voice(spoken: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It as a WAV file, with silence behind it: a pause is heard after the last word."""
    trail = np.zeros(round(TRAIL_S * MODEL_RATE_HERTZ), np.float32)
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(path, np.concatenate([spoken.samples(), trail]), MODEL_RATE_HERTZ)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def closing_browsers() -> AsyncIterator[None]:
    """The browsers that `open_page` starts end with the test process."""
    yield
    await browsers.close()


@pytest_asyncio.fixture(loop_scope="session")
async def lonely_gateway() -> AsyncIterator[RunningGateway]:
    """A gateway whose service does not answer, as if it were still starting."""
    endpoint = Endpoint.parse(f"127.0.0.1:{free_port()}")
    async with run_gateway(endpoint, ping_interval_s=0.2) as gateway:
        yield gateway
