"""Steps, utterances and changes of the pause's settings, against a running stt-serve."""

import grpc
import numpy as np
import pytest

from stt.v1 import stt_pb2
from tests.integration.server.calls import (
    Request,
    kinds,
    reason,
    request_audio,
    request_config,
    split,
    stream,
)

FRAME_BYTES = 7680
EVENTS = [
    stt_pb2.OPTIONAL_EVENT_WORD,
    stt_pb2.OPTIONAL_EVENT_VAD_END,
    stt_pb2.OPTIONAL_EVENT_STEP,
    stt_pb2.OPTIONAL_EVENT_UTTERANCE,
]
SILENCE = bytes(3 * 24_000 * 4)


async def test_steps_count_the_callers_frames_and_utterances_hold_the_words(
    channel, recordings
) -> None:
    audio = recordings[0].pcm_f32le() + SILENCE + recordings[1].pcm_f32le()
    frames = split(audio, FRAME_BYTES)
    flush = Request(flush=stt_pb2.Flush(flush_id="x"))
    requests = [request_config(events=EVENTS), *map(request_audio, frames), flush]
    responses = await stream(channel, requests)
    steps = [r for r in responses if r.HasField("step")]
    assert [r.step.index for r in steps] == list(range(len(frames)))
    ends_ms = [r.processed_offset.ToMilliseconds() for r in steps]
    assert ends_ms[:3] == [80, 160, 240]
    assert all(0.0 <= p <= 1.0 for r in steps for p in r.step.pause_probabilities)
    assert {len(r.step.pause_probabilities) for r in steps} == {4}
    turns = [r.utterance for r in responses if r.HasField("utterance")]
    assert [turn.text for turn in turns] == [recordings[0].text, recordings[1].text]
    words = [word for turn in turns for word in turn.words]
    assert words == list(responses[-1].final.words)
    # The first is closed by the pause and the second by the flush.
    order = [kind for kind in kinds(responses) if kind in ("vad_end", "utterance", "flushed")]
    assert order == ["vad_end", "utterance", "utterance", "flushed"]


async def test_ready_echoes_how_the_audio_is_read(channel) -> None:
    for config, encoding, rate in (
        ({}, stt_pb2.ENCODING_PCM_F32LE, 24_000),
        ({"encoding": stt_pb2.ENCODING_MULAW, "sample_rate_hertz": 8000}, 3, 8_000),
        ({"encoding": stt_pb2.ENCODING_OGG_OPUS}, stt_pb2.ENCODING_OGG_OPUS, 0),
    ):
        responses = await stream(channel, [request_config(**config)])
        ready = responses[0].ready
        assert (ready.audio_encoding, ready.audio_sample_rate_hertz) == (encoding, rate)


async def test_the_pauses_settings_can_change_in_the_session(channel, recordings) -> None:
    silent_s = np.zeros(24_000, dtype="<f4").tobytes()
    speech = request_audio(recordings[0].pcm_f32le() + 3 * silent_s)
    never = Request(vad=stt_pb2.VadSettings(threshold=0.999_99, pause_seconds=3))
    config = request_config(events=[stt_pb2.OPTIONAL_EVENT_VAD_END])
    unchanged = await stream(channel, [config, speech, speech])
    assert kinds(unchanged).count("vad_end") == 2
    responses = await stream(channel, [config, speech, never, speech])
    assert kinds(responses).count("vad_end") == 1


async def test_settings_that_the_model_cannot_serve_end_the_session(channel) -> None:
    wrong = Request(vad=stt_pb2.VadSettings(pause_seconds=1.25))
    with pytest.raises(grpc.aio.AioRpcError, match=r"0\.5, 1, 2, 3 s") as caught:
        await stream(channel, [request_config(), wrong])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "INVALID_REQUEST"
