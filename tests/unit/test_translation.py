import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from stt.v1 import stt_pb2
from stt_service.engine import errors
from stt_service.engine.events import Final, Flushed, Pause, Step, Token, Utterance, Word
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.session import Update
from stt_service.translation import (
    STATUSES,
    MessageTooLarge,
    Unauthenticated,
    decode_options,
    decode_recording_options,
    encode_response,
    encode_status,
    encode_transcription,
    to_duration,
    to_seconds,
)

Code = grpc.StatusCode
ALL = set(stt_pb2.OptionalEvent.values())


def test_an_empty_config_means_the_defaults() -> None:
    assert decode_options(stt_pb2.StreamingConfig()) == SessionOptions()


def test_every_setting_is_read() -> None:
    config = stt_pb2.StreamingConfig(
        encoding=stt_pb2.ENCODING_MULAW,
        sample_rate_hertz=8000,
        vad=stt_pb2.VadSettings(threshold=0.75, pause_seconds=0.5),
        events=[stt_pb2.OPTIONAL_EVENT_STEP, stt_pb2.OPTIONAL_EVENT_UTTERANCE],
        idle_timeout=Duration(seconds=30),
        stall_timeout=Duration(nanos=250_000_000),
        wait_for_slot=Duration(seconds=3),
    )
    assert decode_options(config) == SessionOptions(
        encoding="mulaw",
        sample_rate_hertz=8000,
        vad=VadOptions(0.5, 0.75),
        wants_steps=True,
        wants_utterances=True,
        idle_timeout_s=30.0,
        stall_timeout_s=0.25,
        wait_for_slot_s=3.0,
    )


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (stt_pb2.StreamingConfig(encoding=9), "encoding"),
        (stt_pb2.StreamingConfig(idle_timeout=Duration(seconds=0)), "idle_timeout"),
        (stt_pb2.StreamingConfig(idle_timeout=Duration(seconds=601)), "idle_timeout"),
        (stt_pb2.StreamingConfig(stall_timeout=Duration(seconds=-1)), "stall_timeout"),
        (stt_pb2.StreamingConfig(wait_for_slot=Duration(seconds=-1)), "wait_for_slot"),
        (stt_pb2.StreamingConfig(wait_for_slot=Duration(seconds=601)), "wait_for_slot"),
    ],
)
def test_a_wrong_setting_is_named(config, option) -> None:
    with pytest.raises(errors.InvalidOptions) as caught:
        decode_options(config)
    assert caught.value.option == option


@pytest.mark.parametrize(
    ("error", "code", "reason", "detail"),
    [
        (errors.InvalidOptions("x", "no"), Code.INVALID_ARGUMENT, "INVALID_REQUEST", "BadRequest"),
        (errors.InvalidAudio("no"), Code.INVALID_ARGUMENT, "INVALID_AUDIO", "BadRequest"),
        (MessageTooLarge(2, 1), Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", None),
        (errors.NoFreeSlot(8), Code.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", "RetryInfo"),
        (errors.Overloaded(0.7), Code.RESOURCE_EXHAUSTED, "OVERLOADED", "RetryInfo"),
        (errors.TooManySessions(2), Code.RESOURCE_EXHAUSTED, "TOO_MANY_SESSIONS", "RetryInfo"),
        (Unauthenticated(is_wrong=False), Code.UNAUTHENTICATED, "UNAUTHENTICATED", None),
        (errors.WarmingUp(), Code.UNAVAILABLE, "WARMING_UP", "RetryInfo"),
        (errors.Draining(), Code.UNAVAILABLE, "DRAINING", "RetryInfo"),
        (errors.IdleTimeout(10), Code.DEADLINE_EXCEEDED, "IDLE_TIMEOUT", None),
        (errors.SlowConsumer(30), Code.DEADLINE_EXCEEDED, "SLOW_CONSUMER", None),
        (errors.BrokenOutput(), Code.INTERNAL, "INTERNAL", None),
        (errors.InternalError(), Code.INTERNAL, "INTERNAL", None),
        (errors.EngineDied(RuntimeError("x")), Code.INTERNAL, "ENGINE_DIED", None),
    ],
)
def test_every_error_has_its_status_and_its_reason(error, code, reason, detail) -> None:
    written_code, status = encode_status(error)
    assert written_code is code
    assert (status.code, status.message) == (code.value[0], str(error))
    names = ["google.rpc.ErrorInfo", *([f"google.rpc.{detail}"] if detail else [])]
    assert [any_.TypeName() for any_ in status.details] == names
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("stt.v1", reason)
    assert f"ERROR_REASON_{reason}" in stt_pb2.ErrorReason.DESCRIPTOR.values_by_name


def test_every_class_of_error_has_a_row_of_its_own() -> None:
    """A new class without one would pass as a fault of the server."""

    def descend(kind):
        return {kind, *(below for child in kind.__subclasses__() for below in descend(child))}

    # A server that cannot load its model has no callers.
    never = {errors.UnsuitableCheckpoint, errors.UnreachableCheckpoint, errors.NotEnoughMemory}
    without = {errors.EngineError, errors.NotServing, errors.InternalError, *never}
    engine_errors = {kind for kind in descend(errors.EngineError) if "errors" in kind.__module__}
    assert engine_errors - without <= {kind for kind, _, _ in STATUSES}


def test_a_status_fits_into_headers() -> None:
    """A compiler's whole output would not: the client would see another error in its place."""
    _, status = encode_status(errors.EngineDied(RuntimeError("x" * 100_000)))
    assert len(status.SerializeToString()) < 1000


def test_a_step_time_is_sent_only_where_a_step_was_made() -> None:
    response = encode_response(Update(Flushed("f"), 0.0, 0.0, step_ended_at=None), ALL)
    assert response is not None
    assert not response.HasField("step_time")


def test_a_final_that_is_cut_says_so_over_both_calls() -> None:
    final = Final(" hello", (word,), 3.0, is_cut=True)
    response = encode_response(Update(final, 3.0, 0.0, None), set())
    assert response is not None
    assert response.final.is_cut
    assert encode_transcription(final).is_cut


def test_a_whole_recording_has_no_timeouts() -> None:
    config = stt_pb2.StreamingConfig(
        sample_rate_hertz=8000,
        events=ALL,
        idle_timeout=Duration(seconds=9999),
        stall_timeout=Duration(seconds=0),
    )
    assert decode_recording_options(config) == SessionOptions(sample_rate_hertz=8000)


def test_a_refusal_says_when_to_come_back() -> None:
    _, status = encode_status(errors.NoFreeSlot(8))
    retry = error_details_pb2.RetryInfo()
    status.details[1].Unpack(retry)
    assert to_seconds(retry.retry_delay) == errors.NoFreeSlot(8).retry_after_s


word = Word("hello", 1.0, 1.5, 0.5)


@pytest.mark.parametrize(
    ("event", "kind", "optional"),
    [
        (Token(" hello", 1.0), "token", False),
        (word, "word", True),
        (Pause(2.0), "vad_end", True),
        (Step(7, (0.1, 0.2), mid_word=False), "step", False),
        (Utterance((word,)), "utterance", False),
        (Flushed("f"), "flushed", False),
        (Final(" hello", (word,), 3.0), "final", False),
    ],
)
def test_every_event_has_its_message(event, kind, optional) -> None:
    update = Update(event, processed_s=2.0, lag_s=0.25, step_ended_at=1e9)
    response = encode_response(update, ALL)
    assert response is not None
    assert response.WhichOneof("event") == kind
    assert to_seconds(response.processed_offset) == 2.0
    assert to_seconds(response.lag) == 0.25
    assert response.step_time.seconds == 1e9
    assert (encode_response(update, set()) is None) == optional


@given(st.floats(0, 1e6))
def test_seconds_survive_the_wire_within_a_microsecond(seconds) -> None:
    assert abs(to_seconds(to_duration(seconds)) - seconds) <= 1e-6
