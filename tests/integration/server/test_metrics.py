"""Prometheus metrics of the server: they parse, and every one of them moves."""

import asyncio
import contextlib
import socket
import urllib.request

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from prometheus_client.parser import text_string_to_metric_families

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service import metrics_server
from stt_service.metrics import Metrics
from stt_service.process.listening import listen
from tests.integration.server.calls import (
    Request,
    request_audio,
    request_config,
    stream,
)
from tests.interleaving import become
from tests.support import run_service


def scrape(address: str) -> dict[str, float]:
    """Every sample by its name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    return {
        name + "".join(f"{{{value}}}" for _, value in sorted(labels.items())): value
        for family in families
        for name, labels, value, *_ in family.samples
        if not name.endswith(("_created", "_bucket"))
    }


async def test_every_metric_moves(recordings) -> None:
    paused = next(r for r in recordings if r.path.name == "07-jackson.wav").pcm_f32le()
    arguments = ("--no-gateway", "--batch-size", "1", "--metrics", "127.0.0.1:0")
    with run_service(*arguments) as service:
        before = await asyncio.to_thread(scrape, service.fields["metrics"])
        assert before["stt_engine_alive"] == before["stt_slots_free"] == 1
        assert before["stt_model_info{cpu}{digits}"] == 1
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            flush = Request(flush=stt_pb2.Flush(flush_id="x"))
            await stream(channel, [request_config(), request_audio(paused), flush])

            staying = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
            await staying.write(request_config())
            await staying.read()
            await staying.write(request_audio(paused))
            with pytest.raises(grpc.aio.AioRpcError):
                await stream(channel, [request_config()])
            during = await asyncio.to_thread(scrape, service.fields["metrics"])
            assert during["stt_sessions_open"] == 1
            assert during["stt_slots_free"] == 0
            assert during["stt_queue_depth"] > 0
            waiting = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
            await waiting.write(request_config(wait_for_slot=Duration(seconds=60)))
            await become_waiting(service.fields["metrics"])
            waiting.cancel()
            staying.cancel()
            with pytest.raises(grpc.aio.AioRpcError):
                await speak_badly(channel)
        after = await asyncio.to_thread(scrape, service.fields["metrics"])
    assert after["stt_sessions_total{final}"] == 1
    assert after["stt_sessions_total{cancelled}"] == 1
    assert after["stt_sessions_total{InvalidAudio}"] == 1
    assert after["stt_sessions_refused_total{NoFreeSlot}"] >= 1
    assert after["stt_flushes_total"] == 1
    assert after["stt_tokens_total"] >= 5
    assert after["stt_words_total"] >= 5
    assert after["stt_pauses_total"] >= 1
    assert after["stt_audio_bytes_total"] >= 2 * len(paused)
    assert after["stt_frames_total"] > len(paused) / 7680
    assert after["stt_step_seconds_count"] > len(paused) / 7680
    assert after["stt_first_token_seconds_count"] >= 1
    assert after["stt_lag_seconds_count"] > 5
    assert after["stt_broken_rows_total"] == 0
    assert after["stt_behind_seconds"] >= 0
    assert after["stt_slots_total"] == 1
    assert after["stt_sessions_open"] == 0


def test_callers_who_say_nothing_do_not_keep_the_scraper_out(monkeypatch) -> None:
    monkeypatch.setattr(metrics_server, "SCRAPE_TIMEOUT_S", 0.5)
    server = metrics_server.MetricsServer(
        Metrics().registry, listen("127.0.0.1", 0), lambda _: True
    )
    host, _, port = server.address.rpartition(":")
    try:
        with contextlib.ExitStack() as stack:
            silent = [
                stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
                for _ in range(2 * metrics_server.MAX_SCRAPES)
            ]
            for connection in silent:
                with contextlib.suppress(ConnectionError):
                    # Closed by the server, at once or after the time-out.
                    assert connection.recv(1) == b""
            assert "stt_slots_total" in scrape(server.address)
    finally:
        server.stop()


async def become_waiting(address: str) -> None:
    """Until somebody waits for a slot."""

    async def someone_waits() -> bool:
        return (await asyncio.to_thread(scrape, address))["stt_sessions_waiting"] == 1

    await become(someone_waits, lambda: "nobody waits")


async def speak_badly(channel: grpc.aio.Channel) -> None:
    """Send no audio, until the slot of the call before is free."""
    not_audio = request_audio(b"\xff" * 8)
    while True:
        try:
            await stream(channel, [request_config(), not_audio])
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
