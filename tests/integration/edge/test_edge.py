"""Through an HTTP edge like Modal's: all three ways in work, and each says why it was refused."""

import asyncio
import base64
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from client.audio import ArraySource
from client.rpc.channel import open_channel
from client.rpc.endpoint import Endpoint
from client.rpc.errors import ServerFull, ServerUnavailable, SttError, Unauthenticated
from client.rpc.retry import Waiting
from client.stream import Patience, SttClient
from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.edge.nginx import (
    CREDENTIALS,
    WRONG_CREDENTIALS,
    Edge,
    find_nginx,
    free_port,
    run_edge,
)
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)
from tests.interleaving import become
from tests.support import Recording, Service

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")

TIMES = 100
AT_ONCE = 4
NO_PATIENCE = Patience(starting_s=0, full_s=0, unreachable_s=0)
PROTO = Path(__file__).resolve().parents[3] / "proto"
SERVICE = "stt.v1.SpeechToTextService"
AUDIO_PIECE_BYTES = 65536

Request = stt_pb2.StreamingTranscribeRequest


@pytest.fixture
async def edge(grpc_service: Service, tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge in front of the real server."""
    async with run_edge(tmp_path, grpc_service.grpc) as running:
        yield running


@pytest.fixture
async def cold_edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge with nothing behind it."""
    async with run_edge(tmp_path, f"127.0.0.1:{free_port()}") as running:
        yield running


@pytest.fixture
async def full_edge(grpc_service: Service, tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge that lets one call through, which is taken."""
    async with (
        run_edge(tmp_path, grpc_service.grpc, most_calls=1) as running,
        hold_one_session(running.endpoint()),
    ):
        yield running


@contextlib.asynccontextmanager
async def hold_one_session(endpoint: Endpoint) -> AsyncIterator[None]:
    async with open_channel(endpoint) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        call = stub.StreamingTranscribe(metadata=endpoint.metadata)
        await call.write(Request(config=stt_pb2.StreamingConfig()))
        assert (await call.read()).HasField("ready")
        talking = asyncio.create_task(send_silence(call))
        try:
            yield
        finally:
            talking.cancel()
            call.cancel()


async def send_silence(call: grpc.aio.StreamStreamCall) -> None:
    """Enough that the session is not idle."""
    while True:
        await call.write(Request(audio=bytes(1920 * 4)))
        await asyncio.sleep(1)


async def count(ask: Callable[[], Awaitable[str]], times: int = TIMES) -> Counter[str]:
    """What is answered, and how often, to many calls of which some run at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def ask_once() -> str:
        async with slots:
            return await ask()

    return Counter(await asyncio.gather(*(ask_once() for _ in range(times))))


# --- grpcurl -----------------------------------------------------------------------------------


async def grpcurl(edge: Edge, *arguments: str, secret: str, stdin: str = "") -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *("grpcurl", "-cacert", str(edge.ca_file)),
        *("-H", f"modal-key: {CREDENTIALS.key}", "-H", f"modal-secret: {secret}"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(stdin.encode())
    return stdout.decode(), stderr.decode()


async def test_grpcurl_transcribes(edge: Edge, recordings: tuple[Recording, ...]) -> None:
    audio = recordings[0].pcm_f32le()
    messages: list[dict[str, object]] = [{"config": {}}]
    for start in range(0, len(audio), AUDIO_PIECE_BYTES):
        piece = base64.b64encode(audio[start : start + AUDIO_PIECE_BYTES]).decode()
        messages.append({"audio": piece})
    method = (edge.address, f"{SERVICE}/StreamingTranscribe")
    stdin = "\n".join(map(json.dumps, messages))

    output, errors = await grpcurl(edge, "-d", "@", *method, secret=CREDENTIALS.secret, stdin=stdin)

    assert not errors
    assert recordings[0].text in output.rpartition('"final"')[2]


async def ask_with_grpcurl(edge: Edge, secret: str = CREDENTIALS.secret) -> str:
    source = ("-import-path", str(PROTO), "-proto", "stt/v1/stt.proto")
    _, errors = await grpcurl(
        edge, *source, edge.address, f"{SERVICE}/GetServerInfo", secret=secret
    )
    code = next((line for line in errors.splitlines() if "Code:" in line), "")
    status = next((n for n in ("401", "429", "503") if f"server: {n}" in errors), errors)
    return f"{code.strip()}, HTTP {status}"


# Each grpcurl is a process of its own: a hundred take a while.
grpcurl_times = pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.slow)])


@grpcurl_times
@pytest.mark.timeout(240)
async def test_grpcurl_is_told_the_truth(edge: Edge, times: int) -> None:
    told = await count(lambda: ask_with_grpcurl(edge, WRONG_CREDENTIALS.secret), times)
    assert told == {"Code: Unauthenticated, HTTP 401": times}


@grpcurl_times
@pytest.mark.timeout(240)
async def test_grpcurl_is_told_that_it_is_full(full_edge: Edge, times: int) -> None:
    told = await count(lambda: ask_with_grpcurl(full_edge), times)
    assert told == {"Code: Unavailable, HTTP 429": times}


@grpcurl_times
@pytest.mark.timeout(240)
async def test_grpcurl_is_told_that_it_is_cold(cold_edge: Edge, times: int) -> None:
    told = await count(lambda: ask_with_grpcurl(cold_edge), times)
    assert told == {"Code: Unavailable, HTTP 503": times}


# --- the client library ------------------------------------------------------------------------


async def test_the_client_transcribes(edge: Edge, recordings: tuple[Recording, ...]) -> None:
    async with SttClient(edge.endpoint()) as client:
        final = await client.transcribe_file(recordings[0].path)
    assert final.transcript.strip() == recordings[0].text


async def ask_with_the_client(endpoint: Endpoint, recording: Recording) -> str:
    """Open a stream on a connection of its own; the error it ends with."""
    async with SttClient(endpoint, patience=NO_PATIENCE) as client:
        try:
            await client.transcribe(ArraySource(recording.samples()[:4800]))
        except SttError as error:
            return type(error).__name__
        return "transcribed"


async def test_the_client_is_told_the_truth(edge: Edge, recordings: tuple[Recording, ...]) -> None:
    endpoint = edge.endpoint(WRONG_CREDENTIALS)
    told = await count(lambda: ask_with_the_client(endpoint, recordings[0]))
    assert told == {Unauthenticated.__name__: TIMES}


async def test_the_client_without_credentials_is_told_so(
    edge: Edge, recordings: tuple[Recording, ...]
) -> None:
    assert await ask_with_the_client(edge.endpoint(None), recordings[0]) == "Unauthenticated"


async def test_the_client_is_told_that_it_is_full(
    full_edge: Edge, recordings: tuple[Recording, ...]
) -> None:
    told = await count(lambda: ask_with_the_client(full_edge.endpoint(), recordings[0]))
    assert told == {ServerFull.__name__: TIMES}


async def test_the_client_is_told_that_it_is_cold(
    cold_edge: Edge, recordings: tuple[Recording, ...]
) -> None:
    told = await count(lambda: ask_with_the_client(cold_edge.endpoint(), recordings[0]))
    assert told == {ServerUnavailable.__name__: TIMES}


async def test_clients_that_compete_for_one_place_never_see_an_internal_error(
    grpc_service: Service, tmp_path: Path, recordings: tuple[Recording, ...]
) -> None:
    """The place may go between the unary check and the stream, whose status then is a race."""
    async with run_edge(tmp_path, grpc_service.grpc, most_calls=1) as edge:
        told = await count(lambda: ask_with_the_client(edge.endpoint(), recordings[0]))
    assert told["transcribed"] > 0
    assert told["ServerFull"] > 0
    assert told.keys() <= {"transcribed", "ServerFull", "ServerUnavailable"}


async def test_the_client_waits_for_a_cold_start(tmp_path: Path) -> None:
    port = free_port()
    reasons: list[str] = []
    has_asked_again = asyncio.Event()

    def note(waiting: Waiting) -> None:
        reasons.append(str(waiting.reason))
        if len(reasons) == 2:
            has_asked_again.set()

    async with (
        run_edge(tmp_path, f"127.0.0.1:{port}") as edge,
        SttClient(edge.endpoint(), on_wait=note) as client,
    ):
        asking = asyncio.create_task(client.fetch_server_info())
        await has_asked_again.wait()
        assert not asking.done()
        async with run_scripted(ScriptedService(), port):
            info = await asking
    assert info.model_name == "scripted"
    assert all("HTTP 503" in reason for reason in reasons)


# --- the gateway -------------------------------------------------------------------------------


async def test_the_gateway_transcribes(edge: Edge, recordings: tuple[Recording, ...]) -> None:
    async with (
        run_gateway(edge.endpoint()) as gateway,
        gateway.connect("?events=final") as websocket,
    ):
        await websocket.send(recordings[0].pcm_f32le())
        await websocket.send('{"type":"end"}')
        ended = await read_to_close(websocket)
    assert ended.messages[-1]["transcript"].strip() == recordings[0].text
    assert ended.code == 1000


async def ask_through_a_gateway(endpoint: Endpoint) -> Counter[str]:
    async with run_gateway(endpoint, patience_s=0) as gateway:

        async def ask() -> str:
            async with gateway.connect() as websocket:
                await websocket.send(bytes(1920 * 4))
                ended = await read_to_close(websocket)
            status = next((n for n in ("401", "429", "503") if f"HTTP {n}" in ended.error), "?")
            return f"{ended.code}, HTTP {status}"

        return await count(ask)


async def test_the_gateway_is_told_the_truth(edge: Edge) -> None:
    told = await ask_through_a_gateway(edge.endpoint(WRONG_CREDENTIALS))
    assert told == {"1011, HTTP 401": TIMES}


async def test_the_gateway_is_told_that_it_is_full(full_edge: Edge) -> None:
    assert await ask_through_a_gateway(full_edge.endpoint()) == {"1013, HTTP 429": TIMES}


async def test_the_gateway_is_told_that_it_is_cold(cold_edge: Edge) -> None:
    assert await ask_through_a_gateway(cold_edge.endpoint()) == {"1013, HTTP 503": TIMES}


async def was_refused(gateway: RunningGateway) -> bool:
    return (await gateway.metrics())["stt_gateway_upstream_retries_total"] > 0


async def test_the_gateway_keeps_what_is_said_during_a_cold_start(tmp_path: Path) -> None:
    port = free_port()
    said = bytes(range(256)) * 60  # a file of no meaning to a service without a model
    service = ScriptedService()
    async with (
        run_edge(tmp_path, f"127.0.0.1:{port}") as edge,
        run_gateway(edge.endpoint(), ping_interval_s=0.5) as gateway,
        gateway.connect("?events=final") as websocket,
    ):
        await websocket.send(said)
        await websocket.send('{"type":"end"}')
        # It tells its client to wait, and has been refused.
        await read_until(websocket, "ping")
        await become(lambda: was_refused(gateway), lambda: "it was never refused", patience_s=60)
        async with run_scripted(service, port):
            ended = await read_to_close(websocket)
    assert bytes(service.calls[0].audio) == said
    assert ended.code == 1000
