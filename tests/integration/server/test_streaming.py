"""The gRPC contract, against a running stt-serve."""

import asyncio
import time

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.server.calls import (
    Request,
    become_free,
    count_free_slots,
    details,
    kinds,
    reason,
    request_audio,
    request_config,
    split,
    stream,
    texts,
)
from tests.support import run_service

Code = grpc.StatusCode
ALL_EVENTS = [stt_pb2.OPTIONAL_EVENT_WORD, stt_pb2.OPTIONAL_EVENT_VAD_END]
FRAME_BYTES = 7680


async def test_ready_first_final_last_and_tokens_joined_are_the_transcript(
    channel, recordings
) -> None:
    audio = [request_audio(a) for a in split(recordings[0].pcm_f32le(), FRAME_BYTES)]
    responses = await stream(channel, [request_config(events=ALL_EVENTS), *audio])
    assert kinds(responses)[0] == "ready"
    assert kinds(responses)[-1] == "final"
    final = responses[-1].final
    assert texts(responses) == final.transcript == " " + recordings[0].text
    words = [r.word for r in responses if r.HasField("word")]
    assert words == list(final.words)
    assert [word.text for word in words] == recordings[0].text.split()
    ready = responses[0].ready
    assert ready.delay == Duration(nanos=500_000_000)
    assert (ready.frame_samples, ready.sample_rate_hertz) == (1920, 24000)
    assert len(ready.session_id) == 32


async def test_a_response_says_how_far_the_model_is(channel, recordings) -> None:
    started = time.time()
    responses = await stream(channel, [request_config(), request_audio(recordings[0].pcm_f32le())])
    processed = [r.processed_offset.ToMilliseconds() for r in responses[1:]]
    assert processed == sorted(processed)
    duration_ms = len(recordings[0].samples()) / 24
    assert responses[-1].processed_offset.ToMilliseconds() == pytest.approx(duration_ms, abs=1)
    assert responses[-1].final.audio_duration.ToMilliseconds() == pytest.approx(duration_ms, abs=1)
    assert all(r.lag.ToMilliseconds() >= 0 for r in responses)
    assert responses[1].lag.ToMilliseconds() > 1000, "a whole file waits behind the first token"
    assert all(started <= r.step_time.ToMicroseconds() / 1e6 <= time.time() for r in responses[1:])


async def test_optional_events_come_only_when_asked_for(channel, recordings) -> None:
    paused = next(r for r in recordings if r.path.name == "07-jackson.wav").pcm_f32le()
    plain = await stream(channel, [request_config(), request_audio(paused)])
    assert set(kinds(plain)) == {"ready", "token", "final"}
    full = await stream(channel, [request_config(events=ALL_EVENTS), request_audio(paused)])
    assert set(kinds(full)) == {"ready", "token", "word", "vad_end", "final"}


@pytest.mark.parametrize(
    ("encoding", "rate_hertz", "dtype", "scale"),
    [
        (stt_pb2.ENCODING_PCM_S16LE, 8000, "<i2", 32767),
        (stt_pb2.ENCODING_PCM_S16LE, 48000, "<i2", 32767),
        (stt_pb2.ENCODING_PCM_F32LE, 16000, "<f4", 1),
    ],
)
async def test_other_encodings_and_rates(
    channel, beginnings, encoding, rate_hertz, dtype, scale
) -> None:
    import soxr

    pcm = soxr.resample(beginnings[1].samples(), 24000, rate_hertz)
    data = (np.clip(pcm, -1, 1) * scale).astype(dtype).tobytes()
    config = request_config(encoding=encoding, sample_rate_hertz=rate_hertz)
    responses = await stream(channel, [config, *map(request_audio, split(data, 9999))])
    assert texts(responses).strip() == beginnings[1].text


async def test_a_flush_is_answered_after_its_tokens_and_the_session_goes_on(
    channel, recordings
) -> None:
    first, second = recordings[0], recordings[3]
    requests = [
        request_config(),
        request_audio(first.pcm_f32le()),
        Request(flush=stt_pb2.Flush(flush_id="turn-1")),
        request_audio(second.pcm_f32le()),
    ]
    responses = await stream(channel, requests)
    at = kinds(responses).index("flushed")
    assert responses[at].flushed.flush_id == "turn-1"
    assert texts(responses[:at]).strip() == first.text
    assert second.text.split()[-1] in texts(responses[at:])
    assert responses[-1].final.transcript == texts(responses)


async def test_pings_when_nothing_is_said(channel) -> None:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    call = stub.StreamingTranscribe()
    await call.write(request_config(events=[stt_pb2.OPTIONAL_EVENT_PING]))
    first, second = await call.read(), await asyncio.wait_for(call.read(), 15)
    assert kinds([first, second]) == ["ready", "ping"]
    call.cancel()


@pytest.mark.parametrize(
    ("requests", "code", "text", "field"),
    [
        ([], Code.INVALID_ARGUMENT, "first message must carry the config", "config"),
        ([request_audio(b"")], Code.INVALID_ARGUMENT, "first message must carry", "config"),
        ([request_config()] * 2, Code.INVALID_ARGUMENT, "sent twice", "config"),
        ([request_config(), Request()], Code.INVALID_ARGUMENT, "empty request", "request"),
        ([request_config(encoding=77)], Code.INVALID_ARGUMENT, "encoding 77", "encoding"),
        (
            [request_config(sample_rate_hertz=4)],
            Code.INVALID_ARGUMENT,
            "8000",
            "sample_rate_hertz",
        ),
        (
            [request_config(vad=stt_pb2.VadSettings(pause_seconds=9))],
            Code.INVALID_ARGUMENT,
            "0.5, 1, 2, 3 s",
            "vad.pause_seconds",
        ),
        (
            [request_config(idle_timeout=Duration(seconds=9999))],
            Code.INVALID_ARGUMENT,
            "at most 600 s",
            "idle_timeout",
        ),
        (
            [request_config(), request_audio(np.float32(32767).tobytes())],
            Code.INVALID_ARGUMENT,
            "int16",
            "audio",
        ),
    ],
)
async def test_what_is_wrong_is_named(channel, requests, code, text, field) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(channel, requests)
    assert caught.value.code() is code
    assert text in caught.value.details()
    assert reason(caught.value) == ("INVALID_AUDIO" if field == "audio" else "INVALID_REQUEST")
    bad_request = error_details_pb2.BadRequest()
    details(caught.value)["google.rpc.BadRequest"].Unpack(bad_request)
    assert bad_request.field_violations[0].field == field


async def test_a_message_over_the_limit_is_refused(channel) -> None:
    audio = bytes(17 * 1024 * 1024)
    recording = stt_pb2.TranscribeRequest(config=stt_pb2.StreamingConfig(), audio=audio)
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    for call in (
        stream(channel, [request_config(), request_audio(audio)]),
        stub.Transcribe(recording),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED
        assert reason(caught.value) == "MESSAGE_TOO_LARGE"
        assert "google.rpc.RetryInfo" not in details(caught.value), "to come again does not help"


async def test_idle_sessions_end_with_final_and_deadline_exceeded(channel, recordings) -> None:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    call = stub.StreamingTranscribe()
    await call.write(request_config(idle_timeout=Duration(seconds=1)))
    await call.write(request_audio(recordings[1].pcm_f32le()))
    responses = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            responses.append(response)
    assert responses[-1].final.transcript.strip() == recordings[1].text
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    assert reason(caught.value) == "IDLE_TIMEOUT"
    assert "no audio for 1 s" in caught.value.details()


async def test_a_call_without_a_config_ends(channel) -> None:
    call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call.read(), 30)
    assert caught.value.code() is Code.INVALID_ARGUMENT
    assert "no message came within 10 s" in caught.value.details()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_caller_that_never_reads_keeps_no_slot(channel) -> None:
    """It sends flushes, whose answers it does not take, until the connection holds no more."""
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    flood = Request(flush=stt_pb2.Flush(flush_id="x" * 256))

    async def requests():
        yield request_config(idle_timeout=Duration(seconds=600))
        while True:
            yield flood

    call = stub.StreamingTranscribe(requests())
    free: list[int] = []
    async with asyncio.timeout(200):
        while not (free and free[-1] == 8 and 7 in free):
            await asyncio.sleep(1)
            free.append(await count_free_slots(channel))
    call.cancel()


async def test_transcribe_answers_a_whole_recording(channel, recordings) -> None:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    answer = await stub.Transcribe(stt_pb2.TranscribeRequest(audio=recordings[2].pcm_f32le()))
    assert answer.transcript.strip() == recordings[2].text
    assert [word.text for word in answer.words] == recordings[2].text.split()
    assert answer.audio_duration.ToMilliseconds() == pytest.approx(
        len(recordings[2].samples()) / 24, abs=1
    )
    nothing = await stub.Transcribe(stt_pb2.TranscribeRequest())
    assert nothing.transcript == ""


async def test_info_health_and_the_session_id_in_the_metadata(channel) -> None:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    call = stub.StreamingTranscribe()
    await call.write(request_config())
    metadata = dict(await call.initial_metadata())
    assert (await call.read()).ready.session_id == metadata["session-id"]
    info = await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())
    assert (info.model_name, info.slots_total) == ("digits", 8)
    assert info.slots_free <= 7
    assert "digits" in info.description
    call.cancel()
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "stt.v1.SpeechToTextService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_eight_clients_at_once_each_get_their_own_words(channel, recordings) -> None:
    async def speak(recording) -> str:
        audio = map(request_audio, split(recording.pcm_f32le(), FRAME_BYTES))
        return texts(await stream(channel, [request_config(), *audio], pause_s=0.02)).strip()

    heard = await asyncio.gather(*[speak(recording) for recording in recordings])
    assert heard == [recording.text for recording in recordings]


async def test_a_full_server_says_when_to_come_back_and_a_killed_client_makes_room() -> None:
    with run_service("--no-gateway", "--batch-size", "2") as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            calls = [stub.StreamingTranscribe() for _ in range(2)]
            for call in calls:
                await call.write(request_config())
                assert (await call.read()).HasField("ready")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream(channel, [request_config()])
            assert caught.value.code() is Code.RESOURCE_EXHAUSTED
            assert reason(caught.value) == "NO_FREE_SLOT"
            assert "all 2 slots are taken" in caught.value.details()
            retry = error_details_pb2.RetryInfo()
            details(caught.value)["google.rpc.RetryInfo"].Unpack(retry)
            assert retry.retry_delay.ToMilliseconds() > 0
            calls[0].cancel()
            await become_free(channel, 1, patience_s=5)
            assert kinds(await stream(channel, [request_config()])) == ["ready", "final"]
            calls[1].cancel()
