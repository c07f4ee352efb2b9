"""How many connections a server may hold, where the system lets it have few descriptors."""

import subprocess
import sys

import pytest

from stt_service.process.descriptors import ENOUGH, OWN

PROGRAM = "from stt_service.process.descriptors import count_connections, raise_limit; "


def run(program: str, soft: int, hard: int) -> int:
    limits = f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"'
    command = ["sh", "-c", limits, "sh", sys.executable, "-c", PROGRAM + program]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    assert run("print(raise_limit())", soft=64, hard=512) == 512


@pytest.mark.parametrize(("hard", "connections"), [(512, 512 - OWN), (64, 1), (4000, 1000)])
def test_connections_leave_descriptors_for_the_server_itself(hard: int, connections: int) -> None:
    assert run("print(count_connections(1000))", soft=64, hard=hard) == connections
    assert connections < ENOUGH
