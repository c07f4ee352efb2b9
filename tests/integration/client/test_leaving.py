"""Callers of the library who leave a stream before it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from client.audio import ArraySource
from client.rpc.events import Ready
from client.stream import Patience
from tests.integration.client.test_stream import PROTOCOLS, make_client
from tests.support import Recording, Service


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_early_leave_frees_the_slot(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    """More streams than slots, one after the other, each left at its first event."""
    async with make_client(service, protocol, Patience(full_s=5.0)) as client:
        for _ in range(10):
            async with client.stream(ArraySource(beginnings[0].samples(), pace=1.0)) as stream:
                async for event in stream:
                    assert isinstance(event, Ready)
                    break


LEAVE_EARLY = """
import asyncio, sys
from client import FileSource, SttClient, Token, WebSocketSttClient

async def main(kind, address, path):
    async with {"grpc": SttClient, "websocket": WebSocketSttClient}[kind](address) as client:
        stream = client.stream(FileSource(path, pace=1.0))
        async for event in stream:
            if isinstance(event, Token):
                print(event.text)
                break

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_leaving_the_loop_without_closing_is_no_fault(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    """As a first program does: `break`, and the end of the event loop."""
    address = service.grpc if protocol == "grpc" else service.websocket_url
    done = subprocess.run(
        [sys.executable, "-c", LEAVE_EARLY, protocol, address, beginnings[0].path],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.strip() == beginnings[0].text.split()[0]
    assert (done.stderr, done.returncode) == ("", 0)
