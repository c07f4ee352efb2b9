"""The gRPC server with keys: who is let in, where, and with what limits."""

import asyncio
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.keys.keyed import (
    ALICE,
    BOB,
    BOBS_AUDIO_PER_MINUTE,
    CAROL,
    MARK,
    WAYS,
    WRONG,
    Headers,
    Keyed,
    modal,
    open_session,
    run_keyed,
)
from tests.integration.server.calls import (
    Request,
    Response,
    converse,
    details,
    kinds,
    reason,
    request_audio,
    request_config,
    split,
    texts,
)
from tests.integration.server.raw_http2 import (
    CHECK,
    GET_INFO,
    REFLECTION,
    STREAMING,
    TRANSCRIBE,
    connect,
    frame,
)
from tests.interleaving import become
from tests.support import MODEL_RATE_HERTZ, Recording

HEALTH = "grpc.health.v1.Health"
KEYS = modal(ALICE)
UNAUTHENTICATED = "16"


async def stream(
    channel: grpc.aio.Channel, requests: Sequence[Request], metadata: Headers
) -> list[Response]:
    """All responses. Raises AioRpcError, which a write that fails does not hide."""
    call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(metadata=metadata)
    return await converse(call, requests)


class WithKey(grpc.StreamStreamClientInterceptor):
    def intercept_stream_stream(self, continuation, client_call_details, request_iterator):
        return continuation(client_call_details._replace(metadata=KEYS), request_iterator)


def find_methods(address: str) -> list[str]:
    """Every method of every service that the server has, /SERVICE/METHOD."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, WithKey()))
        pool = DescriptorPool(database)
        return [
            f"/{name}/{method.name}"
            for name in database.get_services()
            for method in pool.FindServiceByName(name).methods
        ]


async def test_no_method_does_anything_without_a_key(keyed: Keyed) -> None:
    methods = await asyncio.to_thread(find_methods, keyed.service.grpc)
    assert {STREAMING, TRANSCRIBE, GET_INFO, REFLECTION, CHECK} <= set(methods)
    async with connect(keyed.service.grpc) as caller:
        for method in methods:
            if method.startswith(f"/{HEALTH}/"):
                continue
            for headers in WRONG:
                # Nothing is sent: the server does not wait for a message.
                answer = await asyncio.wait_for(
                    caller.answer(caller.call(method, dict(headers))), 20
                )
                assert answer.get("grpc-status") == UNAUTHENTICATED, (method, headers, answer)


@pytest.mark.parametrize("headers", WRONG, ids=str)
async def test_what_is_no_key_opens_nothing(channel, headers: Headers) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream(channel, [request_config()], headers)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason(refused.value) == "UNAUTHENTICATED"
    assert "Modal-Key and Modal-Secret" in refused.value.details()


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_to_present_a_key_opens(channel, way) -> None:
    assert kinds(await stream(channel, [request_config()], way(ALICE))) == ["ready", "final"]


async def test_health_needs_no_key(channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="stt.v1.SpeechToTextService")
    answer = await health.Check(request)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(request)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def scrape(address: str, headers: Headers) -> tuple[int, str]:
    """Status and body of /metrics."""
    request = urllib.request.Request(f"http://{address}/metrics", headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            assert error.headers["WWW-Authenticate"].startswith("Basic ")
            return error.code, error.read().decode()


def test_metrics_need_a_key(keyed: Keyed) -> None:
    address = keyed.service.fields["metrics"]
    for headers in WRONG:
        status, body = scrape(address, headers)
        assert status == 401
        assert "stt_" not in body
    for way in WAYS:
        status, body = scrape(address, way(ALICE))
        assert status == 200
        assert "stt_sessions_open" in body


# --- limits of a key -------------------------------------------------------------------------


async def test_a_key_has_as_many_sessions_as_it_may(channel) -> None:
    async with open_session(channel, modal(BOB)) as first:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream(
                    channel, [request_config(wait_for_slot=Duration(seconds=9))], modal(BOB)
                )
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reason(refused.value) == "TOO_MANY_SESSIONS"
            assert "google.rpc.RetryInfo" in details(refused.value)
        assert kinds(await stream(channel, [request_config()], modal(ALICE))) == ["ready", "final"]
        await first.done_writing()
        assert (await first.read()).HasField("final")
        assert await first.code() is grpc.StatusCode.OK
    assert kinds(await stream(channel, [request_config()], modal(BOB))) == ["ready", "final"]


async def test_a_session_is_idle_as_soon_as_its_key_says(channel) -> None:
    started = time.monotonic()
    async with open_session(channel, modal(BOB), idle_timeout=Duration(seconds=600)) as session:
        assert (await session.read()).HasField("final")
        assert await session.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10


async def test_a_key_is_heard_as_fast_as_it_may_and_loses_nothing(
    channel, beginnings: tuple[Recording, ...]
) -> None:
    gap = np.zeros(MODEL_RATE_HERTZ // 2, np.float32)
    pcm = np.concatenate([part for each in beginnings[:4] for part in (each.samples(), gap)])
    # Beyond the bucket there is more than one piece, and each waits longer than BOB may be idle.
    pcm = pcm[: round((BOBS_AUDIO_PER_MINUTE + 0.8) * MODEL_RATE_HERTZ)]
    assert len(pcm) > (BOBS_AUDIO_PER_MINUTE + 0.5) * MODEL_RATE_HERTZ
    requests = [request_config(), *map(request_audio, split(pcm.astype("<f4").tobytes(), 7680))]
    at_once = await stream(channel, requests, modal(ALICE))
    started = time.monotonic()
    slowed = await stream(channel, requests, modal(BOB))
    assert time.monotonic() - started > 2
    assert texts(slowed) == texts(at_once) != ""
    assert slowed[-1].final.audio_duration == at_once[-1].final.audio_duration


# --- changing the keys ------------------------------------------------------------------------


async def is_let_in(channel: grpc.aio.Channel, key: tuple[str, str]) -> bool:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    try:
        await stub.Transcribe(stt_pb2.TranscribeRequest(), metadata=modal(key))
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False
    return True


@pytest.fixture(scope="module")
def open_keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server that tells everybody what it is."""
    with run_keyed(tmp_path_factory.mktemp("open"), "--open-info") as running:
        yield running


async def test_info_is_for_everybody_where_that_is_asked_for(open_keyed: Keyed) -> None:
    async with connect(open_keyed.service.grpc) as caller:
        for method, status in {GET_INFO: "0", REFLECTION: "0", TRANSCRIBE: UNAUTHENTICATED}.items():
            call = caller.call(method)
            caller.send(call, frame(b""), end=True)
            answer = await asyncio.wait_for(caller.answer(call), 20)
            assert answer["grpc-status"] == status, method
    address = open_keyed.service.fields["metrics"]
    assert (await asyncio.to_thread(scrape, address, ()))[0] == 200
    for path, status in {"/v1/info": 200, "/metrics": 200, "/": 401, "/v1/stream": 401}.items():
        url = f"http://{open_keyed.service.http}{path}"
        assert (await asyncio.to_thread(httpx.get, url, trust_env=False)).status_code == status


async def test_keys_are_read_again_at_sighup(open_keyed: Keyed) -> None:
    def count(event: str) -> int:
        return open_keyed.read_log().count(event)

    async def reload(keys: str, event: str) -> None:
        """Both servers read the file and say so."""
        open_keyed.keys.write_text(keys)
        before = count(event)
        open_keyed.service.process.send_signal(signal.SIGHUP)
        await become(lambda: count(event) == before + 2, open_keyed.read_log)

    async with grpc.aio.insecure_channel(open_keyed.service.grpc) as channel:
        async with open_session(channel, modal(ALICE)) as session:
            await reload(f"{':'.join(CAROL)}\n", "keys reloaded")
            assert (await is_let_in(channel, CAROL), await is_let_in(channel, ALICE)) == (1, 0)
            # Who was let in stays.
            await session.done_writing()
            assert (await session.read()).HasField("final")

        await reload(f"{CAROL[1]}\n", "keys not reloaded, the old ones stay")
        assert (await is_let_in(channel, CAROL), await is_let_in(channel, ALICE)) == (1, 0)
    assert MARK not in open_keyed.read_log()
