"""Which service a command talks to, and the client for it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from dataclasses import dataclass

from client.command.environment import Environment
from client.rpc.endpoint import Credentials
from client.rpc.errors import ServerUnreachable
from client.rpc.retry import OnWait, Patience
from client.stream import SttClient, WebSocketSttClient
from stt_service.process.address import (
    DEFAULT_GRPC_ADDRESS,
    DEFAULT_HTTP_ADDRESS,
    split_host_port,
)

LOOK_TIMEOUT_S = 1.0
# A user who mistyped an address should learn it soon.
COMMAND_PATIENCE = Patience(unreachable_s=3.0)


@dataclass(frozen=True)
class Target:
    """An address, and whether it speaks gRPC or WebSocket."""

    address: str
    is_grpc: bool
    credentials: Credentials | None = None

    def make_client(
        self, patience: Patience = COMMAND_PATIENCE, on_wait: OnWait | None = None
    ) -> SttClient | WebSocketSttClient:
        """A client for it. Raises ValueError for an address that is not understood."""
        if self.is_grpc:
            return SttClient(self.address, self.credentials, patience=patience, on_wait=on_wait)
        return WebSocketSttClient(
            self.address, self.credentials, patience=patience, on_wait=on_wait
        )

    def __str__(self) -> str:
        return self.address


async def find_target(arguments: argparse.Namespace, environment: Environment) -> Target:
    """The service that the arguments or the environment name, or one on this machine.

    Raises `ServerUnreachable` if none was named and no local server runs.
    """
    credentials = environment.credentials
    if arguments.grpc:
        return Target(arguments.grpc, True, credentials)
    if arguments.url:
        return Target(arguments.url, False, credentials)
    if environment.websocket_url:
        return Target(environment.websocket_url, False, credentials)
    if await _answers(DEFAULT_GRPC_ADDRESS):
        return Target(DEFAULT_GRPC_ADDRESS, True)
    if await _answers(DEFAULT_HTTP_ADDRESS):
        return Target(f"ws://{DEFAULT_HTTP_ADDRESS}", False)
    raise ServerUnreachable(
        f"No local server answers at {DEFAULT_GRPC_ADDRESS} or {DEFAULT_HTTP_ADDRESS}. Start one "
        "with `stt-serve`, name one with --url or --grpc, or export MODAL_WORKSPACE."
    )


async def _answers(address: str) -> bool:
    host, port = split_host_port(address)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
    return False
