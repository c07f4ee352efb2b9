"""People with grpcurl: everything through reflection, no stubs."""

import asyncio
import base64
import json

import pytest

from tests.integration.server.calls import split
from tests.support import Service

SERVICE = "stt.v1.SpeechToTextService"
RIVA = "nvidia.riva.asr.RivaSpeechRecognition"


async def grpcurl(*arguments: str, stdin: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        *("grpcurl", "-plaintext", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(stdin)
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()


def read_stream(output: str) -> list[dict]:
    """The JSON objects that grpcurl printed one after another."""
    decoder = json.JSONDecoder()
    messages = []
    while output := output.strip():
        message, end = decoder.raw_decode(output)
        messages.append(message)
        output = output[end:]
    return messages


async def test_list_names_the_services(grpc_service: Service) -> None:
    listed = (await grpcurl(grpc_service.grpc, "list")).split()
    reflection = "grpc.reflection.v1alpha.ServerReflection"
    assert set(listed) == {SERVICE, RIVA, "grpc.health.v1.Health", reflection}


async def test_describe_shows_the_methods(grpc_service: Service) -> None:
    described = await grpcurl(grpc_service.grpc, "describe", SERVICE)
    for method in ("StreamingTranscribe", "Transcribe", "GetServerInfo"):
        assert f"rpc {method}" in described
    described = await grpcurl(grpc_service.grpc, "describe", RIVA)
    for method in ("StreamingRecognize", "Recognize", "GetRivaSpeechRecognitionConfig"):
        assert f"rpc {method}" in described
    described = await grpcurl(grpc_service.grpc, "describe", "nvidia.riva.asr.RecognizeRequest")
    assert ".nvidia.riva.RequestId id = 100" in described


@pytest.mark.parametrize("name", ["", SERVICE, RIVA])
async def test_health_is_serving(grpc_service: Service, name: str) -> None:
    data = json.dumps({"service": name})
    answer = await grpcurl("-d", data, grpc_service.grpc, "grpc.health.v1.Health/Check")
    assert json.loads(answer) == {"status": "SERVING"}


async def test_a_streaming_transcription_from_json_on_standard_input(
    grpc_service: Service, recordings
) -> None:
    recording = recordings[0]
    messages: list[dict] = [{"config": {"events": ["OPTIONAL_EVENT_WORD"]}}]
    for piece in split(recording.pcm_f32le(), 65536):
        messages.append({"audio": base64.b64encode(piece).decode()})
    stdin = "\n".join(map(json.dumps, messages)).encode()
    method = f"{SERVICE}/StreamingTranscribe"
    output = await grpcurl("-d", "@", grpc_service.grpc, method, stdin=stdin)
    responses = read_stream(output)
    assert "ready" in responses[0]
    assert responses[-1]["final"]["transcript"].strip() == recording.text
    tokens = [response["token"]["text"] for response in responses if "token" in response]
    assert "".join(tokens).strip() == recording.text
