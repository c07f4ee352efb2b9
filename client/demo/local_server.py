"""`stt-serve` as a child process on free loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from stt_service.process.child import ChildEnded, run_child, wait_for_line
from stt_service.process.keys import KEY_VARIABLE, SECRET_VARIABLE
from stt_service.process.tasks import first_of

START_TIMEOUT_S = 120.0
TELL_EVERY_S = 1.0
LOG_TAIL_LINES = 8

# One package of each extra that the server needs; looked for, not imported.
_SERVER_NEEDS = ("moshi", "starlette")

_KEY_VARIABLES = (KEY_VARIABLE, SECRET_VARIABLE)

_READY = re.compile(r"^ready (?P<fields>\S+=\S+(?: \S+=\S+)*)$")


class LocalServerError(Exception):
    """The server did not start; the message ends with its last log lines."""


@dataclass(frozen=True)
class LocalServer:
    """A server that is ready."""

    grpc_address: str
    websocket_url: str
    model: str
    slots: int


@contextlib.asynccontextmanager
async def run_local_server(
    arguments: Sequence[str] = (),
    batch_size: int | None = None,
    tell_progress: Callable[[float], None] | None = None,
) -> AsyncGenerator[LocalServer]:
    """Start the server, yield when it serves, and stop it on every way out.

    `tell_progress` is called once a second with the seconds waited. Raises `LocalServerError`.
    """
    if not all(map(importlib.util.find_spec, _SERVER_NEEDS)):
        raise LocalServerError(
            "The server's packages are not installed beside the client. "
            "In a clone: pip install '.[server,gateway]', or uv run stt-demo."
        )
    # A key of the environment would be one for others, and is none that this client sends.
    environment = {name: value for name, value in os.environ.items() if name not in _KEY_VARIABLES}
    if batch_size is not None:
        environment["BATCH_SIZE"] = str(batch_size)
    command = [
        *(sys.executable, "-m", "stt_service"),
        *("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments),
    ]
    with tempfile.TemporaryFile() as log:
        async with run_child(command, env=environment, stderr=log) as process:
            try:
                fields = await _wait_until_ready(process, tell_progress)
            except (ChildEnded, TimeoutError) as error:
                log.seek(0)
                said = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                text = "\n".join(["The server did not start. It said:", *said])
                raise LocalServerError(text) from error
            yield LocalServer(
                grpc_address=fields["grpc"],
                websocket_url=f"ws://{fields['http']}/v1/stream",
                model=fields["model"],
                slots=int(fields["slots"]),
            )


async def _wait_until_ready(
    process: asyncio.subprocess.Process, tell_progress: Callable[[float], None] | None
) -> dict[str, str]:
    """The fields of the server's `ready` line. Raises ChildEnded or TimeoutError."""
    return await first_of(
        wait_for_line(process, parse_ready_line, START_TIMEOUT_S), _tell_every_second(tell_progress)
    )


async def _tell_every_second(tell_progress: Callable[[float], None] | None) -> None:
    if tell_progress is None:
        return
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        tell_progress(loop.time() - started)


def parse_ready_line(line: str) -> dict[str, str] | None:
    """The fields of stt-serve's `ready` line; None for any other line."""
    if match := _READY.match(line):
        return dict(pair.split("=", 1) for pair in match["fields"].split(" "))
    return None
