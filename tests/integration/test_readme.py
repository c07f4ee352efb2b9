"""README's examples work as printed, but for the ports."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support import Service

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def find_example(language: str, containing: str) -> str:
    """The one code block of a language that contains a string."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    return block


async def run(program: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(program, *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()


async def test_the_websocket_example_gets_every_word(service: Service, recordings) -> None:
    example = find_example("python", "websockets.connect")
    output = await run(sys.executable, "-c", example.replace("127.0.0.1:8000", service.http))
    assert output.strip() == recordings[0].text


async def test_the_stub_example_prints_words_and_transcript(service: Service, recordings) -> None:
    example = find_example("python", "SpeechToTextServiceStub")
    output = await run(sys.executable, "-c", example.replace("127.0.0.1:50051", service.grpc))
    live, transcript = output.strip().splitlines()
    assert transcript.strip() == recordings[0].text
    assert re.sub(r" \[\d+ to \d+ ms\]", "", live).strip() == recordings[0].text


@pytest.mark.parametrize(
    ("line", "expected"),
    [("list", "stt.v1.SpeechToTextService"), ("/Check", "SERVING"), ("GetServerInfo", "digits")],
)
async def test_the_grpcurl_lines(service: Service, line: str, expected: str) -> None:
    script = find_example("sh", "grpcurl -plaintext").replace("127.0.0.1:50051", service.grpc)
    (command,) = [command for command in script.splitlines() if command.endswith(line)]
    assert expected in await run("bash", "-c", command)


async def test_the_grpcurl_stream(service: Service, recordings) -> None:
    script = find_example("sh", "grpcurl -plaintext").replace("127.0.0.1:50051", service.grpc)
    output = await run("bash", "-c", script[script.index("(echo") :])
    assert f'"transcript": " {recordings[0].text}"' in output


def test_every_hop_is_where_readme_says() -> None:
    hops = re.findall(r"^\d\. `([\w.]+)` `([\w.]+)`", README, re.MULTILINE)
    assert len(hops) == 6
    for module, name in hops:
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
        assert f"def {name.rpartition('.')[2]}(" in source, f"{module} has no {name}"
