from collections.abc import AsyncIterator

import grpc
import pytest_asyncio

from tests.support import Service


@pytest_asyncio.fixture
async def channel(grpc_service: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(grpc_service.grpc) as open_channel:
        yield open_channel
