"""A child process that never outlives the block for which it was started."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import IO, TypeVar

STOP_TIMEOUT_S = 10.0

T = TypeVar("T")


class ChildEnded(Exception):
    """The child ended before it said what was waited for."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


@contextlib.asynccontextmanager
async def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int = DEVNULL,
    stderr: int | IO[bytes] | None = None,
    start_new_session: bool = False,
) -> AsyncGenerator[Process]:
    """Run a command while the block runs; its standard output is a pipe.

    On every way out the child is asked to end (SIGTERM), and killed after STOP_TIMEOUT_S, or at
    once where the caller is cancelled meanwhile.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        stdin=stdin,
        stdout=PIPE,
        stderr=stderr,
        start_new_session=start_new_session,
    )
    try:
        yield process
    finally:
        await _end(process)


async def wait_for_line(process: Process, parse: Callable[[str], T | None], timeout_s: float) -> T:
    """What `parse` makes of the first line of standard output for which it does not return None.

    Raises ChildEnded, or TimeoutError.
    """
    assert process.stdout is not None
    async with asyncio.timeout(timeout_s):
        async for line in process.stdout:
            if (parsed := parse(line.decode(errors="replace").strip())) is not None:
                return parsed
        raise ChildEnded(await process.wait())


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    # It may have ended in this moment.
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await _wait(process)
        except TimeoutError:
            process.kill()
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise


async def _wait(process: Process) -> None:
    """Wait for the end; what the child still writes must not block it."""
    assert process.stdout is not None
    while await process.stdout.read(65_536):
        pass
    await process.wait()
