from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
import pytest_asyncio

from tests.integration.keys.keyed import Keyed, run_keyed


@pytest.fixture(scope="package")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server and its gateway that ask for keys. Leave no session open on it."""
    with run_keyed(tmp_path_factory.mktemp("keyed")) as running:
        yield running


@pytest_asyncio.fixture
async def channel(keyed: Keyed) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(keyed.service.grpc) as open_channel:
        yield open_channel
