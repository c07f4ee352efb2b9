"""The documented models, from a Hugging Face cache in its real layout: which of them hear pauses.

Kyutai's PyTorch repository of the 1B model has no extra heads, the one for candle has:
https://github.com/kyutai-labs/delayed-streams-modeling/commit/07729ed
"""

from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import numpy as np
import pytest

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.deploy.deployment import DEFAULTS
from tests.integration.deploy.hub_cache import store_model
from tests.integration.server.calls import kinds, request_audio, request_config, split, stream
from tests.support import Recording, Service, run_service

DOCUMENTED = "kyutai/stt-1b-en_fr"
WITH_HEADS = "kyutai/stt-1b-en_fr-candle"
WITHOUT_HEADS = "kyutai/stt-2.6b-en"
SILENCE = np.zeros(4 * 24_000, dtype="<f4").tobytes()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    store_model(cache, DOCUMENTED, heads=False)
    store_model(cache, WITH_HEADS, heads=True)
    store_model(cache, WITHOUT_HEADS, heads=False)
    store_model(cache, "acme/headless", heads=False)
    return cache


def serve(cache: Path, model: str) -> AbstractContextManager[Service]:
    environment = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "MODEL_NAME": model}
    return run_service("--no-gateway", "--batch-size", "1", env=environment)


async def ask(service: Service) -> stt_pb2.GetServerInfoResponse:
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        return await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())


async def hear(service: Service, recording: Recording) -> list[str]:
    """The kinds of events for a recording and the silence after it."""
    config = request_config(events=[stt_pb2.OPTIONAL_EVENT_VAD_END])
    audio = split(recording.pcm_f32le() + SILENCE, 96_000)
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        return kinds(await stream(channel, [config, *map(request_audio, audio)]))


@pytest.mark.parametrize("model", [DOCUMENTED, WITH_HEADS])
async def test_the_default_model_of_a_deployment_sends_vad_end(
    model: str, cache: Path, beginnings: tuple[Recording, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert DEFAULTS["MODEL_NAME"] == DOCUMENTED
    with serve(cache, model) as service:
        assert service.fields["model"] == model
        info = await ask(service)
        events = await hear(service, beginnings[0])

    assert "vad_end" in events
    assert info.has_semantic_vad
    assert info.model_name == model
    assert info.description.startswith("English and French")
    log = capfd.readouterr().err
    assert "vad_end" not in log
    # Where it is served from is said, to clients and to whoever started it.
    for text in (info.description, log):
        assert WITH_HEADS in text or model == WITH_HEADS


@pytest.mark.parametrize(
    ("model", "level", "says"),
    [
        (
            WITHOUT_HEADS,
            "info",
            "this model predicts no pauses: vad_end comes later, from its text",
        ),
        (
            "acme/headless",
            "warning",
            "no heads in this checkpoint predict pauses: vad_end comes later, from its text",
        ),
    ],
)
async def test_a_model_without_heads_finds_pauses_in_its_text_and_says_so(
    model: str,
    level: str,
    says: str,
    cache: Path,
    beginnings: tuple[Recording, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with serve(cache, model) as service:
        info = await ask(service)
        events = await hear(service, beginnings[0])

    assert not info.has_semantic_vad
    assert "vad_end" in events
    assert events[-1] == "final"
    lines = [line for line in capfd.readouterr().err.splitlines() if "vad_end" in line]
    assert len(lines) == 1, lines
    assert f" {level} {says} " in lines[0]
    assert model in lines[0]
