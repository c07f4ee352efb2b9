"""Child processes of every package: none outlives the block, or the caller, that started it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from client.demo import local_server
from client.latency import gpu_comparison
from stt_service import supervisor
from tests.interleaving import become, interrupt_everywhere

PROGRAM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); signal.pause()"
End = Callable[[asyncio.subprocess.Process], Awaitable[None]]


def count_children() -> int:
    tasks = Path("/proc/self/task").glob("*/children")
    return sum(len(task.read_text().split()) for task in tasks)


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "end",
    [supervisor._end, local_server._stop, gpu_comparison._end],
    ids=["gateway", "server", "modal"],
)
async def test_a_child_that_will_not_end_is_killed_where_nobody_can_wait_for_it(end: End):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    ending = asyncio.ensure_future(end(process))
    await asyncio.sleep(0.1)
    assert not ending.done()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    async with asyncio.timeout(5):
        assert await process.wait() == -signal.SIGKILL


async def test_a_command_leaves_no_child_and_no_pipe_wherever_it_is_cancelled():
    command = [sys.executable, "-S", "-c", "print('done')"]
    assert await gpu_comparison._run(command, "trying") == "done\n"
    # Other tests of this process may share a server.
    children, descriptors = count_children(), count_descriptors()

    async def nothing_is_left(when: str) -> None:
        assert count_children() == children, when
        await become(lambda: count_descriptors() <= descriptors, lambda: f"{when}: pipes are left")

    async def run() -> None:
        await gpu_comparison._run(command, "trying")

    assert await interrupt_everywhere(run, nothing_is_left) > 1
