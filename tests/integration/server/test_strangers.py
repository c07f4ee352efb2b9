"""What callers send who are no clients of ours: refused in a sentence, and not in a traceback."""

import asyncio
import contextlib
import gzip
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.guard import MAX_HEALTH_CALLS
from tests.integration.server.calls import kinds, request_config, stream
from tests.integration.server.raw_http2 import (
    CHECK,
    GET_INFO,
    REFLECTION,
    STREAMING,
    TRANSCRIBE,
    WATCH,
    Headers,
    RawConnection,
    connect,
    frame,
)
from tests.interleaving import become
from tests.support import run_service

ALL_METHODS = (STREAMING, TRANSCRIBE, GET_INFO, CHECK, WATCH, REFLECTION)
OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = "0", "3", "8", "12"
WATCHES_A_CONNECTION = 100


@dataclass
class Watched:
    """A server's address, and what it has logged."""

    address: str
    log: Path

    def read_log(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    path = tmp_path_factory.mktemp("strangers") / "log"
    with path.open("w") as log, run_service("--no-gateway", log=log) as service:
        yield Watched(service.grpc, path)


@pytest_asyncio.fixture
async def stranger(server: Watched) -> AsyncIterator[RawConnection]:
    async with connect(server.address) as connection:
        yield connection


async def is_served(server: Watched) -> bool:
    async with grpc.aio.insecure_channel(server.address) as channel:
        return kinds(await stream(channel, [request_config()])) == ["ready", "final"]


async def ask(caller: RawConnection, path: str | bytes, body: bytes, **headers: str) -> str:
    """The status of one call, after which nobody has said anything about Python."""
    call = caller.call(path, {name.replace("_", "-"): value for name, value in headers.items()})
    caller.send(call, body, end=True)
    answer = await asyncio.wait_for(caller.answer(call), 20)
    assert "grpc-status" in answer, answer
    assert not re.search(r"class|Error|Unexpected|google", answer["grpc-message"])
    return answer["grpc-status"]


GARBAGE = {
    "no protobuf": b"\xff\xff\xff",
    "a length beyond the end": b"\x0a\xff\x01",
    "a field of number 0": b"\x00\x00",
    "an unfinished group": b"\x0b",
    "text that is not UTF-8": stt_pb2.StreamingTranscribeRequest(flush=stt_pb2.Flush(flush_id="AA"))
    .SerializeToString()
    .replace(b"AA", b"\xc3\x28"),
}


@pytest.mark.parametrize("path", ALL_METHODS)
async def test_what_cannot_be_parsed_is_the_callers_fault(stranger, path: str) -> None:
    for what in ("no protobuf", "a length beyond the end", "an unfinished group"):
        assert await ask(stranger, path, frame(GARBAGE[what])) == INVALID_ARGUMENT, what


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_within_a_session_ends_it_with_invalid_argument(stranger, what: str) -> None:
    config = frame(request_config().SerializeToString())
    body = config + frame(GARBAGE[what])
    assert await ask(stranger, STREAMING, body) == INVALID_ARGUMENT


@pytest.mark.parametrize("path", [TRANSCRIBE, GET_INFO, CHECK, WATCH])
@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0\0\0\0\x09abc"], ids=["none", "cut", "short"])
async def test_a_call_that_ends_without_a_message_is_answered(stranger, path, body) -> None:
    assert await ask(stranger, path, body) == INVALID_ARGUMENT


async def test_fields_of_the_wrong_type_are_no_config(stranger) -> None:
    for body in (b"\x08\x01", b"\x15\0\0\0\0", b"\xfa\x7f\x00"):
        assert await ask(stranger, STREAMING, frame(body)) == INVALID_ARGUMENT


UNKNOWN_METHODS = ["/nobody/Nothing", "/stt.v1.SpeechToTextService/No", "x", b"/\xff\xfe/\xc3"]


@pytest.mark.parametrize("path", UNKNOWN_METHODS)
async def test_an_unknown_method_is_unimplemented_and_ends_nothing(server, stranger, path) -> None:
    assert await ask(stranger, path, frame(b"")) == UNIMPLEMENTED
    assert await is_served(server)


async def test_a_name_that_is_no_utf8_does_not_end_the_session_beside_it(server, stranger) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
        await call.write(request_config())
        assert (await call.read()).HasField("ready")
        assert await ask(stranger, b"/\xff", frame(b"")) == UNIMPLEMENTED
        await call.done_writing()
        assert (await call.read()).HasField("final")


async def test_compressed_requests_are_refused_before_they_are_unpacked(stranger) -> None:
    bomb = gzip.compress(bytes(16 * 1024 * 1024))
    body = frame(bomb, compressed=True)
    assert await ask(stranger, TRANSCRIBE, body, grpc_encoding="gzip") == UNIMPLEMENTED


async def test_a_client_that_compresses_is_told_so(server) -> None:
    async with grpc.aio.insecure_channel(server.address, compression=grpc.Compression.Gzip) as it:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(it)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Transcribe(stt_pb2.TranscribeRequest(audio=bytes(7680)))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "gzip" in refused.value.details()


async def test_more_streams_than_there_can_be_sessions_are_not_offered(stranger) -> None:
    assert stranger.max_streams == 8 + 100


async def test_what_is_no_http2_is_closed(server) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    host, _, port = server.address.rpartition(":")
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), preface + b"\xff" * 100):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()


@pytest.mark.slow
async def test_a_handshake_that_does_not_end_is_ended(server) -> None:
    """TCP and nothing else, and half an HTTP/2 preface: both go after 10 s."""
    host, _, port = server.address.rpartition(":")
    pairs = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
    pairs[1][1].write(b"PRI * HT")
    for reader, writer in pairs:
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 20)
        writer.close()


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xc3", b"\x01"])
async def test_a_header_that_is_no_text_is_nobodys_trouble(server, stranger, value) -> None:
    call = stranger.call(GET_INFO, {"x-note": value})
    stranger.send(call, frame(b""), end=True)
    assert (await stranger.answer(call)).get("grpc-status") == "0"


async def watch_health(caller: RawConnection) -> list[asyncio.Task[Headers]]:
    """Calls that watch, once they have been told; each with its end."""
    calls = [caller.call(WATCH) for _ in range(WATCHES_A_CONNECTION)]
    for call in calls:
        caller.send(call, frame(b""), end=True)
    watches = [asyncio.create_task(caller.answer(call)) for call in calls]
    await become(
        lambda: all(caller.received[call] for call in calls), lambda: "nobody is told of health"
    )
    return watches


async def test_who_fills_all_calls_of_health_keeps_nobody_out(server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        callers = [
            await stack.enter_async_context(connect(server.address))
            for _ in range(MAX_HEALTH_CALLS // WATCHES_A_CONNECTION + 1)
        ]
        # One connection after the other, so that it is known which are the oldest.
        watches = [watch for caller in callers for watch in await watch_health(caller)]
        ended, _ = await asyncio.wait(watches[:WATCHES_A_CONNECTION], timeout=20)
        assert {task.result()["grpc-status"] for task in ended} == {RESOURCE_EXHAUSTED}
        assert len(ended) == WATCHES_A_CONNECTION
        assert not any(watch.done() for watch in watches[WATCHES_A_CONNECTION + 1 :])
        async with connect(server.address) as caller:
            assert await ask(caller, CHECK, frame(b"")) == OK
        assert await is_served(server)


async def test_garbage_costs_a_few_lines_and_no_traceback(server, stranger) -> None:
    """Last in the file: everything above was said to this server too."""
    before = server.read_log()
    for _ in range(100):
        assert await ask(stranger, GET_INFO, frame(b"\xff")) == INVALID_ARGUMENT
    assert len(server.read_log().splitlines()) - len(before.splitlines()) <= 2
    assert await is_served(server)
    assert "Traceback" not in server.read_log()


@pytest.mark.slow
async def test_silent_connections_up_to_the_last_descriptor_lock_nobody_out(tmp_path) -> None:
    path = tmp_path / "log"
    with (
        path.open("w") as log,
        run_service("--no-gateway", log=log, descriptors=256) as service,
        contextlib.ExitStack() as stack,
    ):
        host, _, port = service.grpc.rpartition(":")
        for _ in range(300):
            _, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
        assert len(os.listdir(f"/proc/{service.process.pid}/fd")) < 250
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            request = stt_pb2.GetServerInfoRequest()
            await stub.GetServerInfo(request, wait_for_ready=True, timeout=60)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
    assert len(path.read_text()) < 10_000
