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

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
TELL_EVERY_S = 1.0
LOG_TAIL_LINES = 8

# One package of each extra that the server needs; looked for, not imported.
_SERVER_NEEDS = ("moshi", "starlette")

_READY = re.compile(r"^ready (?P<fields>\S+=\S+(?: \S+=\S+)*)$")


class LocalServerError(Exception):
    """The server did not come up; the text holds the end of what it said."""


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

    `tell_progress` hears the seconds waited so far, once a second. Raises `LocalServerError`.
    """
    if not all(map(importlib.util.find_spec, _SERVER_NEEDS)):
        raise LocalServerError(
            "The server's packages are not installed beside the client. "
            "In a clone: pip install '.[server,gateway]', or uv run stt-demo."
        )
    environment = dict(os.environ)
    if batch_size is not None:
        environment["BATCH_SIZE"] = str(batch_size)
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stt_service"),
            *("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            fields = await _wait_until_ready(process, tell_progress)
            if fields is None:
                log.seek(0)
                said = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                raise LocalServerError("\n".join(["The server did not start. It said:", *said]))
            yield LocalServer(
                grpc_address=fields["grpc"],
                websocket_url=f"ws://{fields['http']}/v1/stream",
                model=fields["model"],
                slots=int(fields["slots"]),
            )
        finally:
            await _stop(process)


async def _wait_until_ready(
    process: asyncio.subprocess.Process, tell_progress: Callable[[float], None] | None
) -> dict[str, str] | None:
    """The fields of the server's `ready` line; None if it ended or took too long."""
    reading = asyncio.ensure_future(_read_ready_line(process))
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        while not reading.done() and loop.time() - started < START_TIMEOUT_S:
            await asyncio.wait([reading], timeout=TELL_EVERY_S)
            if tell_progress is not None and not reading.done():
                tell_progress(loop.time() - started)
        return reading.result() if reading.done() else None
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _read_ready_line(process: asyncio.subprocess.Process) -> dict[str, str] | None:
    assert process.stdout is not None
    async for line in process.stdout:
        if match := _READY.match(line.decode(errors="replace").strip()):
            return dict(pair.split("=", 1) for pair in match["fields"].split(" "))
    return None


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
