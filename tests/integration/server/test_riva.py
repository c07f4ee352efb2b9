"""NVIDIA Riva's service beside ours, with stubs of its own protos, against a running stt-serve."""

import asyncio
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile

from stt.nvidia_riva import riva_asr_pb2, riva_asr_pb2_grpc, riva_audio_pb2, riva_common_pb2
from stt.v1 import stt_pb2
from tests.integration.server.calls import (
    converse,
    details,
    reason,
    request_audio,
    request_config,
    stream,
)
from tests.ogg_files import encode_opus, write_ogg
from tests.support import Recording, Service

Code = grpc.StatusCode
Request = riva_asr_pb2.StreamingRecognizeRequest
Response = riva_asr_pb2.StreamingRecognizeResponse
RATE_HERTZ = 8000
SILENCE = bytes(3 * RATE_HERTZ * 2)
LINEAR_PCM = {"encoding": riva_audio_pb2.LINEAR_PCM, "sample_rate_hertz": RATE_HERTZ}
PIECE_BYTES = 1600


def samples(recording: Recording) -> bytes:
    """A demo recording as it is in its file, without the header."""
    return soundfile.read(recording.path, dtype="int16")[0].astype("<i2").tobytes()


def configure(*, interim: bool = True, **fields: Any) -> Request:
    config = riva_asr_pb2.RecognitionConfig(**{"enable_word_time_offsets": True, **fields})
    streaming = riva_asr_pb2.StreamingRecognitionConfig(config=config, interim_results=interim)
    return Request(streaming_config=streaming)


def cut(audio: bytes) -> list[Request]:
    starts = range(0, len(audio), PIECE_BYTES)
    return [Request(audio_content=audio[n : n + PIECE_BYTES]) for n in starts]


def open_call(channel: grpc.aio.Channel) -> Any:
    return riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize()


async def recognize(channel: grpc.aio.Channel, *requests: Request) -> list[Response]:
    """All responses to these requests."""
    return await converse(open_call(channel), requests)


def finals(responses: Sequence[Response]) -> list[str]:
    return [
        response.results[0].alternatives[0].transcript
        for response in responses
        if response.results[0].is_final
    ]


async def test_the_text_and_the_times_are_those_of_our_own_protocol(channel, recordings) -> None:
    config = request_config(encoding=stt_pb2.ENCODING_PCM_S16LE, sample_rate_hertz=RATE_HERTZ)

    async def compare(recording: Recording) -> None:
        audio = samples(recording)
        told, responses = await asyncio.gather(
            stream(channel, [config, request_audio(audio)]),
            recognize(channel, configure(**LINEAR_PCM), *cut(audio)),
        )
        ours = told[-1].final
        assert "".join(finals(responses)).strip() == ours.transcript.strip() == recording.text
        words = [word for r in responses for word in r.results[0].alternatives[0].words]
        assert [(w.word, w.start_time, w.end_time, w.confidence) for w in words] == [
            (
                w.text,
                w.start_offset.ToMilliseconds(),
                w.end_offset.ToMilliseconds(),
                pytest.approx(w.confidence),
            )
            for w in ours.words
        ]
        processed = [response.results[0].audio_processed for response in responses]
        assert processed == sorted(processed)
        assert processed[-1] == pytest.approx(len(audio) / 2 / RATE_HERTZ, abs=0.001)

    # Two sessions each, as many as there are slots.
    for n in range(0, len(recordings), 4):
        await asyncio.gather(*map(compare, recordings[n : n + 4]))


async def test_interim_results_come_while_it_is_spoken(channel, recordings) -> None:
    """And one final result for each turn, with the line open."""
    call = open_call(channel)
    await call.write(configure(**LINEAR_PCM, endpointing_config={"stop_history": 1600}))
    for recording in recordings[:2]:
        for request in cut(samples(recording) + SILENCE):
            await call.write(request)
        said: list[str] = []
        while not (result := (await call.read()).results[0]).is_final:
            said.append(result.alternatives[0].transcript)
        assert result.alternatives[0].transcript == f"{recording.text} "
        # Each goes on where the one before it ended.
        assert len(said) >= len(recording.text.split())
        assert all(after.startswith(before) for before, after in pairwise(said))
        assert said[-1] == recording.text
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is Code.OK


async def test_a_stall_closes_the_turn(channel, beginnings) -> None:
    call = open_call(channel)
    await call.write(configure(interim=False, **LINEAR_PCM))
    beginning = beginnings[0]
    pcm = beginning.samples()
    for request in cut((pcm[::3] * 32767).astype("<i2").tobytes()):
        await call.write(request)
    response = await call.read()
    assert response.results[0].is_final
    assert len(response.results[0].alternatives[0].words) == len(beginning.words)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_files_with_a_header_need_no_config(channel, recordings) -> None:
    """NVIDIA's own scripts send a file as it is, pipecat a WAV file for each turn."""
    file = recordings[0].path.read_bytes()
    configs = (configure(), configure(**LINEAR_PCM), configure(sample_rate_hertz=RATE_HERTZ))
    stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    response, *streamed = await asyncio.gather(
        stub.Recognize(riva_asr_pb2.RecognizeRequest(audio=file)),
        *(recognize(channel, config, *cut(file)) for config in configs),
    )
    assert response.results[0].alternatives[0].transcript == f"{recordings[0].text} "
    assert list(map(finals, streamed)) == [[f"{recordings[0].text} "]] * 3


def write_g711(recording: Recording, subtype: str) -> bytes:
    file = BytesIO()
    pcm, rate = soundfile.read(recording.path)
    soundfile.write(file, pcm, rate, format="RAW", subtype=subtype)
    return file.getvalue()


async def test_every_encoding(channel, recordings) -> None:
    recording = recordings[1]
    ogg = write_ogg(encode_opus(recording.samples(), 24_000))
    stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    for encoding, audio in (
        ("MULAW", write_g711(recording, "ULAW")),
        ("ALAW", write_g711(recording, "ALAW")),
        ("OGGOPUS", ogg),
    ):
        fields = {"encoding": encoding, "sample_rate_hertz": RATE_HERTZ}
        responses, response = await asyncio.gather(
            recognize(channel, configure(interim=False, **fields), *cut(audio)),
            stub.Recognize(riva_asr_pb2.RecognizeRequest(config=fields, audio=audio)),
        )
        assert finals(responses) == [f"{recording.text} "], encoding
        result = response.results[0]
        assert result.alternatives[0].transcript == f"{recording.text} ", encoding
        assert result.audio_processed == pytest.approx(len(recording.samples()) / 24_000, abs=0.1)


async def test_request_ids_come_back(channel, beginnings) -> None:
    audio = (beginnings[0].samples()[::3] * 32767).astype("<i2").tobytes()
    first = configure(**LINEAR_PCM)
    first.id.value = "call"
    responses = await recognize(channel, first, *cut(audio))
    assert {response.id.value for response in responses} == {"call"}
    stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    recording = riva_asr_pb2.RecognizeRequest(
        config=LINEAR_PCM, audio=audio, id=riva_common_pb2.RequestId(value="file")
    )
    assert (await stub.Recognize(recording)).id.value == "file"


@pytest.mark.parametrize(
    ("requests", "field", "said"),
    [
        ([Request(audio_content=b"xx")], "streaming_config", "first message"),
        ([configure(encoding="FLAC")], "config.encoding", "FLAC"),
        ([configure(encoding="LINEAR_PCM", sample_rate_hertz=4000)], "sample_rate_hertz", "4000"),
        ([configure(**LINEAR_PCM, audio_channel_count=2)], "config.audio_channel_count", "mono"),
        ([configure(), Request(audio_content=bytes(99))], "config.sample_rate_hertz", "header"),
        ([configure(**LINEAR_PCM), configure(**LINEAR_PCM)], "streaming_config", "twice"),
        ([configure(), Request(audio_content=b"fLaC")], "audio", "FLAC"),
        ([configure(encoding="OGGOPUS"), *cut(bytes(70_000))], "audio", "Ogg"),
    ],
)
async def test_what_cannot_be_served_is_said_in_a_sentence(channel, requests, field, said) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
        await recognize(channel, *requests)
    assert caught.value.code() is Code.INVALID_ARGUMENT
    assert reason(caught.value) == ("INVALID_AUDIO" if field == "audio" else "INVALID_REQUEST")
    assert field.encode() in details(caught.value)["google.rpc.BadRequest"].value


@pytest.mark.parametrize("method", ["StreamingRecognize", "Recognize"])
async def test_garbage_is_the_callers_fault(channel, method: str) -> None:
    call = channel.stream_stream(f"/nvidia.riva.asr.RivaSpeechRecognition/{method}")()
    await call.write(b"\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert (caught.value.code(), reason(caught.value)) == (
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
    )


async def test_a_message_of_a_newer_client_is_passed_over(channel, beginnings) -> None:
    """nvidia-riva-client 2.28 has `runtime_config`, a map with the number 3."""
    newer = Request.FromString(b"\x1a\x06\n\x01a\x12\x01b")
    audio = (beginnings[0].samples()[::3] * 32767).astype("<i2").tobytes()
    responses = await recognize(channel, configure(**LINEAR_PCM), newer, *cut(audio), newer)
    assert len("".join(finals(responses)).split()) == len(beginnings[0].words)


async def test_a_stream_without_audio_ends_well(channel) -> None:
    for config in (configure(), configure(**LINEAR_PCM)):
        assert await recognize(channel, config) == []


async def test_a_full_server_refuses_before_there_is_audio_and_slots_come_back(
    grpc_service: Service,
) -> None:
    async with grpc.aio.insecure_channel(grpc_service.grpc) as channel:
        calls = [open_call(channel) for _ in range(8)]
        for call in calls:
            await call.write(configure(**LINEAR_PCM))
            assert dict(await call.initial_metadata())["session-id"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await open_and_wait(channel)
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED
        assert reason(caught.value) == "NO_FREE_SLOT"
        assert "google.rpc.RetryInfo" in details(caught.value)
        # Nobody says how its audio is written, so it has no slot yet.
        undecided = open_call(channel)
        await undecided.write(configure())
        for call in calls:
            call.cancel()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await recognize(channel, configure(**LINEAR_PCM)) == []
                    break
                except grpc.aio.AioRpcError as error:
                    assert error.code() is Code.RESOURCE_EXHAUSTED
        wav = BytesIO()
        soundfile.write(wav, np.zeros(800), RATE_HERTZ, format="WAV", subtype="PCM_16")
        await undecided.write(Request(audio_content=wav.getvalue()))
        await undecided.done_writing()
        assert await undecided.read() is grpc.aio.EOF
        assert await undecided.code() is Code.OK


async def open_and_wait(channel: grpc.aio.Channel) -> None:
    call = open_call(channel)
    await call.write(configure(**LINEAR_PCM))
    await call.read()


async def test_the_models_are_listed(channel) -> None:
    stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    answer = await stub.GetRivaSpeechRecognitionConfig(
        riva_asr_pb2.RivaSpeechRecognitionConfigRequest()
    )
    assert {model.parameters["type"] for model in answer.model_config} == {"online", "offline"}
    assert {model.model_name for model in answer.model_config} == {"digits"}
