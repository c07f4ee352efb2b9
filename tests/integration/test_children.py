"""Child processes of every package: none outlives the block, or the caller, that started it."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from client.latency import gpu_comparison
from stt_service.process import child
from stt_service.process.child import ChildEnded, run_child, wait_for_line
from tests.interleaving import become, interrupt_everywhere

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); signal.pause()"
TALKATIVE = """
import signal, sys
def end(*_):
    print("x" * 1_000_000, flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print(flush=True)
signal.pause()
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-u", "-c", program]


async def read_first_line(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    await process.stdout.readline()


def count_children() -> int:
    children = 0
    for task in Path("/proc/self/task").glob("*/children"):
        # A thread may end between the listing and the reading.
        with contextlib.suppress(FileNotFoundError):
            children += len(task.read_text().split())
    return children


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_child_that_will_not_end_is_killed_where_nobody_can_wait_for_it():
    started: asyncio.Future[asyncio.subprocess.Process] = asyncio.Future()

    async def run() -> None:
        async with run_child(python(STUBBORN)) as process:
            await read_first_line(process)
            started.set_result(process)

    running = asyncio.ensure_future(run())
    process = await started
    await asyncio.sleep(0.1)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(5):
        assert await process.wait() == -signal.SIGKILL


async def test_a_child_that_will_not_end_is_killed_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child, "STOP_TIMEOUT_S", 0.1)
    async with run_child(python(STUBBORN)) as process:
        await read_first_line(process)
    assert process.returncode == -signal.SIGKILL


async def test_a_child_may_say_much_while_it_ends():
    async with run_child(python(TALKATIVE)) as process:
        await read_first_line(process)
    assert process.returncode == 3


class TestWaitForLine:
    @staticmethod
    def parse(line: str) -> str | None:
        return line.removeprefix("ready ") if line.startswith("ready ") else None

    async def test_the_first_line_that_is_meant(self):
        program = "print('loading'); print('ready 1'); print('ready 2')"
        async with run_child(python(program)) as process:
            assert await wait_for_line(process, self.parse, 60) == "1"

    async def test_a_child_that_ends_before(self):
        async with run_child(python("print('loading'); raise SystemExit(7)")) as process:
            with pytest.raises(ChildEnded, match="exit code 7"):
                await wait_for_line(process, self.parse, 60)

    async def test_a_child_that_takes_too_long(self):
        async with run_child(python("import signal; signal.pause()")) as process:
            with pytest.raises(TimeoutError):
                await wait_for_line(process, self.parse, 0.1)
        assert process.returncode == -signal.SIGTERM


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


async def test_a_block_leaves_no_child_and_no_pipe_wherever_it_is_cancelled():
    children, descriptors = count_children(), count_descriptors()

    async def nothing_is_left(when: str) -> None:
        # Cancelled while it waits for the end, it kills the child and does not see it off.
        await become(lambda: count_children() <= children, lambda: f"{when}: a child is left")
        await become(lambda: count_descriptors() <= descriptors, lambda: f"{when}: pipes are left")

    async def run() -> None:
        async with run_child(python("print('ready'); import signal; signal.pause()")) as process:
            await wait_for_line(process, lambda line: line or None, 60)

    assert await interrupt_everywhere(run, nothing_is_left) > 3
