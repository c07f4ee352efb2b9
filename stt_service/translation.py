"""Between the wire and the engine: requests to options, events to responses, errors to statuses."""

from collections.abc import Container

import grpc
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2

from stt.v1 import stt_pb2
from stt_service.engine.errors import (
    BrokenOutput,
    Draining,
    EngineDied,
    EngineError,
    IdleTimeout,
    InvalidAudio,
    InvalidOptions,
    NoFreeSlot,
    NotServing,
    Overloaded,
    SlowConsumer,
    TooManySessions,
    WarmingUp,
)
from stt_service.engine.events import Event, Final, Flushed, Pause, Step, Token, Utterance, Word
from stt_service.engine.options import DEFAULT_IDLE_TIMEOUT_S, SessionOptions
from stt_service.engine.pauses import DEFAULT_PAUSE_S, DEFAULT_THRESHOLD, VadOptions
from stt_service.engine.session import Update


class MessageTooLarge(EngineError):
    """One message exceeds the limit."""

    def __init__(self, received_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"a message of {received_bytes:,} bytes is larger than the limit of {limit_bytes:,}; "
            "send the audio in smaller messages"
        )


class TooManyCalls(NotServing):
    """More calls are open than the server can hold, whatever they are for."""

    def __init__(self) -> None:
        super().__init__("too many calls are open; try again shortly", retry_after_s=1.0)


class Unauthenticated(EngineError):
    """The call carries no key, or a wrong one."""

    def __init__(self, *, is_wrong: bool) -> None:
        problem = "this server does not know the key" if is_wrong else "this server wants a key"
        super().__init__(
            f"{problem}: send its name and secret as Modal-Key and Modal-Secret, or KEY:SECRET as "
            "Authorization: Bearer"
        )


# The first class that an error is an instance of decides.
STATUSES: tuple[tuple[type[EngineError], grpc.StatusCode, stt_pb2.ErrorReason.ValueType], ...] = (
    (InvalidOptions, grpc.StatusCode.INVALID_ARGUMENT, stt_pb2.ERROR_REASON_INVALID_REQUEST),
    (InvalidAudio, grpc.StatusCode.INVALID_ARGUMENT, stt_pb2.ERROR_REASON_INVALID_AUDIO),
    (MessageTooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED, stt_pb2.ERROR_REASON_MESSAGE_TOO_LARGE),
    (NoFreeSlot, grpc.StatusCode.RESOURCE_EXHAUSTED, stt_pb2.ERROR_REASON_NO_FREE_SLOT),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, stt_pb2.ERROR_REASON_OVERLOADED),
    (TooManyCalls, grpc.StatusCode.RESOURCE_EXHAUSTED, stt_pb2.ERROR_REASON_NO_FREE_SLOT),
    (
        TooManySessions,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        stt_pb2.ERROR_REASON_TOO_MANY_SESSIONS,
    ),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, stt_pb2.ERROR_REASON_UNAUTHENTICATED),
    (WarmingUp, grpc.StatusCode.UNAVAILABLE, stt_pb2.ERROR_REASON_WARMING_UP),
    (Draining, grpc.StatusCode.UNAVAILABLE, stt_pb2.ERROR_REASON_DRAINING),
    (IdleTimeout, grpc.StatusCode.DEADLINE_EXCEEDED, stt_pb2.ERROR_REASON_IDLE_TIMEOUT),
    (SlowConsumer, grpc.StatusCode.DEADLINE_EXCEEDED, stt_pb2.ERROR_REASON_SLOW_CONSUMER),
    (BrokenOutput, grpc.StatusCode.INTERNAL, stt_pb2.ERROR_REASON_INTERNAL),
    (EngineDied, grpc.StatusCode.INTERNAL, stt_pb2.ERROR_REASON_ENGINE_DIED),
    (EngineError, grpc.StatusCode.INTERNAL, stt_pb2.ERROR_REASON_INTERNAL),
)
STATUS_DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "stt.v1"
ERROR_REASON_PREFIX = "ERROR_REASON_"

ENCODINGS = {
    stt_pb2.ENCODING_UNSPECIFIED: "pcm_f32le",
    stt_pb2.ENCODING_PCM_F32LE: "pcm_f32le",
    stt_pb2.ENCODING_PCM_S16LE: "pcm_s16le",
    stt_pb2.ENCODING_MULAW: "mulaw",
    stt_pb2.ENCODING_OGG_OPUS: "ogg_opus",
    stt_pb2.ENCODING_ALAW: "alaw",
}


def decode_options(config: stt_pb2.StreamingConfig) -> SessionOptions:
    """What the caller asks for, defaults filled in. Raises InvalidOptions."""
    encoding = ENCODINGS.get(config.encoding)
    if encoding is None:
        known = ", ".join(stt_pb2.Encoding.keys()[1:])
        raise InvalidOptions("encoding", f"unknown encoding {config.encoding}; known: {known}")
    return SessionOptions(
        encoding=encoding,
        sample_rate_hertz=config.sample_rate_hertz,
        vad=decode_vad(config.vad),
        wants_steps=stt_pb2.OPTIONAL_EVENT_STEP in config.events,
        wants_utterances=stt_pb2.OPTIONAL_EVENT_UTTERANCE in config.events,
        idle_timeout_s=(
            to_seconds(config.idle_timeout)
            if config.HasField("idle_timeout")
            else DEFAULT_IDLE_TIMEOUT_S
        ),
        stall_timeout_s=(
            to_seconds(config.stall_timeout) if config.HasField("stall_timeout") else None
        ),
        wait_for_slot_s=to_seconds(config.wait_for_slot),
    )


def encode_encoding(encoding: str) -> stt_pb2.Encoding.ValueType:
    """The wire's name of an encoding of ours."""
    return next(wire for wire, name in reversed(ENCODINGS.items()) if name == encoding)


def decode_vad(settings: stt_pb2.VadSettings) -> VadOptions:
    """What the caller calls a pause, defaults filled in."""
    return VadOptions(
        settings.pause_seconds or DEFAULT_PAUSE_S, settings.threshold or DEFAULT_THRESHOLD
    )


def decode_recording_options(config: stt_pb2.StreamingConfig) -> SessionOptions:
    """The same for a whole recording, which arrives at once: timeouts mean nothing."""
    timeless = stt_pb2.StreamingConfig()
    timeless.CopyFrom(config)
    timeless.ClearField("idle_timeout")
    timeless.ClearField("stall_timeout")
    timeless.ClearField("events")
    return decode_options(timeless)


# Every session of the engine has them; steps and utterances it makes for those who want them.
_OPTIONAL_EVENTS: dict[type[Event], stt_pb2.OptionalEvent.ValueType] = {
    Word: stt_pb2.OPTIONAL_EVENT_WORD,
    Pause: stt_pb2.OPTIONAL_EVENT_VAD_END,
}


def encode_response(
    update: Update, wanted: Container[stt_pb2.OptionalEvent.ValueType]
) -> stt_pb2.StreamingTranscribeResponse | None:
    """The message for an update, or None if the caller does not want it."""
    optional = _OPTIONAL_EVENTS.get(type(update.event))
    if optional is not None and optional not in wanted:
        return None
    response = stt_pb2.StreamingTranscribeResponse(
        processed_offset=to_duration(update.processed_s),
        lag=to_duration(update.lag_s),
    )
    if update.step_ended_at is not None:
        response.step_time.CopyFrom(to_timestamp(update.step_ended_at))
    match update.event:
        case Token(text, start_s):
            response.token.text = text
            response.token.start_offset.CopyFrom(to_duration(start_s))
        case Word():
            response.word.CopyFrom(encode_word(update.event))
        case Pause(offset_s):
            response.vad_end.offset.CopyFrom(to_duration(offset_s))
        case Step(index, pause_probabilities, mid_word):
            response.step.index = index
            response.step.pause_probabilities.extend(pause_probabilities)
            response.step.mid_word = mid_word
        case Utterance():
            response.utterance.CopyFrom(encode_utterance(update.event))
        case Flushed(flush_id):
            response.flushed.flush_id = flush_id
        case Final(transcript, words, audio_duration_s, is_cut):
            response.final.transcript = transcript
            response.final.is_cut = is_cut
            response.final.words.extend(map(encode_word, words))
            response.final.audio_duration.CopyFrom(to_duration(audio_duration_s))
    return response


def encode_word(word: Word) -> stt_pb2.Word:
    return stt_pb2.Word(
        text=word.text,
        start_offset=to_duration(word.start_s),
        end_offset=to_duration(word.end_s),
        confidence=word.confidence,
    )


def encode_utterance(utterance: Utterance) -> stt_pb2.Utterance:
    return stt_pb2.Utterance(
        text=utterance.text,
        start_offset=to_duration(utterance.start_s),
        end_offset=to_duration(utterance.end_s),
        words=map(encode_word, utterance.words),
    )


def encode_transcription(final: Final) -> stt_pb2.TranscribeResponse:
    return stt_pb2.TranscribeResponse(
        transcript=final.transcript,
        words=map(encode_word, final.words),
        audio_duration=to_duration(final.audio_duration_s),
        is_cut=final.is_cut,
    )


def encode_status(error: EngineError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """The gRPC status of an error: ErrorInfo always, RetryInfo or BadRequest where one helps."""
    code, reason = next(
        (code, reason) for kind, code, reason in STATUSES if isinstance(error, kind)
    )
    status = status_pb2.Status(code=code.value[0], message=str(error))
    name = stt_pb2.ErrorReason.Name(reason).removeprefix(ERROR_REASON_PREFIX)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=name, domain=ERROR_DOMAIN))
    match error:
        case NotServing():
            status.details.add().Pack(
                error_details_pb2.RetryInfo(retry_delay=to_duration(error.retry_after_s))
            )
        case InvalidOptions():
            status.details.append(_blame(error.option, str(error)))
        case InvalidAudio():
            status.details.append(_blame("audio", str(error)))
        case _:
            pass
    return code, status


def _blame(field: str, description: str) -> any_pb2.Any:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return detail


def to_duration(seconds: float) -> duration_pb2.Duration:
    # Whole microseconds: floats of seconds carry no more, and round numbers stay round.
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration


def to_seconds(duration: duration_pb2.Duration) -> float:
    return duration.ToMicroseconds() / 1e6


def to_timestamp(unix_seconds: float) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromMicroseconds(round(unix_seconds * 1e6))
    return timestamp
