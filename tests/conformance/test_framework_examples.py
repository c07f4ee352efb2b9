"""The programs of examples/ for other people's frameworks, in their environment."""

from __future__ import annotations

import subprocess

import pytest

from tests.conformance.released import TIMEOUT_S, find_python
from tests.pages import EXAMPLES, ROOT
from tests.support import Recording, Service

pytestmark = pytest.mark.skipif(
    find_python() is None, reason="other people's clients are not installed: uv run poe conformance"
)


def start_example(name: str, service: Service) -> subprocess.Popen[str]:
    """The program as it is, but for the port."""
    python = find_python()
    assert python is not None
    program = (EXAMPLES / name).read_text()
    assert program.count("127.0.0.1:8000") == 1
    program = program.replace("127.0.0.1:8000", service.http)
    return subprocess.Popen(
        [python, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_both_print_the_turn(service: Service, recordings: tuple[Recording, ...]):
    text = recordings[0].text
    running = [start_example(name, service) for name in ("livekit_agent.py", "pipecat_pipeline.py")]
    try:
        (agent, agent_log), (pipeline, pipeline_log) = (
            process.communicate(timeout=TIMEOUT_S) for process in running
        )
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert agent.splitlines() == [text], agent_log
    *deltas, turn = pipeline.splitlines()
    assert turn == text, pipeline_log
    assert "".join(delta.removeprefix("… ") for delta in deltas) == text
