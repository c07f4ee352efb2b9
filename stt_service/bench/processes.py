"""A server in a process of its own, and what the system says of it. Linux only."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stt_service.process.environment import InvalidSetting

SCRIPTED = "scripted"
STOP_TIMEOUT_S = 20.0
# Whoever is measured admits everybody: that it is too slow is a figure, and no refusal.
MAX_BEHIND_S = "3600"


@dataclass(frozen=True)
class Served:
    """A server that is ready. Addresses are HOST:PORT."""

    pid: int
    gateway_pid: int
    grpc: str
    http: str


def check_system() -> None:
    """Raises InvalidSetting where the system does not say what its processes cost."""
    if not Path("/proc/self/schedstat").exists():
        raise InvalidSetting("this part reads /proc/PID/task/*/schedstat, which only Linux has")


@contextmanager
def serve(model: str, slots: int, step_ms: float, threads: int) -> Generator[Served]:
    """Serve while the block runs, with a gateway. `model` is `scripted`, or as in stt-serve."""
    command = [sys.executable, "-m"]
    if model == SCRIPTED:
        command += ["stt_service.bench.scripted", "--step-ms", str(step_ms)]
        command += ["--slots", str(slots)]
    else:
        command += ["stt_service", "--model", model, "--device", "cpu", "--drain-grace", "0"]
        command += ["--threads", str(threads), "--batch-size", str(slots)]
        command += ["--max-behind", MAX_BEHIND_S]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    # A pipe that nobody reads would fill with log lines and hold the server up.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready:
                process.wait(STOP_TIMEOUT_S)
                log.seek(0)
                raise InvalidSetting(f"the server did not start: {log.read().strip()}")
            said = dict(re.findall(r"(\w+)=(\S+)", ready))
            yield Served(process.pid, _find_child(process.pid), said["grpc"], said["http"])
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=STOP_TIMEOUT_S)
            process.kill()


def read_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds of each thread so far; the main thread's number is the process's."""
    seconds: dict[int, float] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end meanwhile.
        with suppress(OSError):
            seconds[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def read_resident_mib(pid: int) -> float:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _find_child(pid: int) -> int:
    children: Sequence[str] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])
