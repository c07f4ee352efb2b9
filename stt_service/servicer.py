"""gRPC on one side, a Session of the engine on the other."""

from collections.abc import AsyncIterator
from functools import partial

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service import __version__
from stt_service.engine.errors import InvalidOptions
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session
from stt_service.sessions import Sessions
from stt_service.translation import (
    decode_options,
    decode_recording_options,
    decode_vad,
    encode_encoding,
    encode_response,
    encode_transcription,
    to_duration,
)
from stt_service.writing import Context

Request = stt_pb2.StreamingTranscribeRequest
Response = stt_pb2.StreamingTranscribeResponse


class SpeechToTextServicer(stt_pb2_grpc.SpeechToTextServiceServicer):
    """stt.v1.SpeechToTextService on an engine."""

    def __init__(self, sessions: Sessions, *, model_name: str, description: str) -> None:
        self._sessions = sessions
        self._engine = sessions.engine
        self._writer = sessions.writer
        self._model_name = model_name
        self._description = description

    # Writes to the context instead of being a generator: when the caller goes away during a write,
    # a generator would free the slot only when it is collected.
    async def StreamingTranscribe(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request_iterator: AsyncIterator[Request], context: Context
    ) -> None:
        config = await read_config(request_iterator)
        options = decode_options(config)
        async with self._sessions.open(options, context) as session:
            await self._writer.write(context, self._encode_ready(session, options))
            async with self._sessions.feeding(session, partial(self._feed, request_iterator)):
                wanted = set(config.events)
                pings = stt_pb2.OPTIONAL_EVENT_PING in wanted
                await self._sessions.send(
                    session,
                    partial(encode_response, wanted=wanted),
                    context,
                    partial(encode_ping, session) if pings else None,
                )

    async def Transcribe(
        self, request: stt_pb2.TranscribeRequest, context: Context
    ) -> stt_pb2.TranscribeResponse:
        audio = self._sessions.take_audio(request.audio)
        options = decode_recording_options(request.config)
        return encode_transcription(await self._sessions.transcribe(audio, options, context))

    async def GetServerInfo(
        self, request: stt_pb2.GetServerInfoRequest, context: Context
    ) -> stt_pb2.GetServerInfoResponse:
        info = self._engine.info
        return stt_pb2.GetServerInfoResponse(
            model_name=self._model_name,
            sample_rate_hertz=info.sample_rate_hertz,
            frame_samples=info.frame_samples,
            delay=to_duration(info.delay_s),
            has_semantic_vad=info.has_semantic_vad,
            slots_total=self._engine.slots_total,
            slots_free=self._engine.slots_open,
            version=__version__,
            description=self._description,
        )

    async def _feed(self, requests: AsyncIterator[Request], session: Session) -> None:
        """Hand the caller's audio, flushes and settings to the session until it half-closes."""
        async for request in requests:
            match request.WhichOneof("request"):
                case "audio":
                    await session.push_audio(self._sessions.take_audio(request.audio))
                case "flush":
                    await session.flush(request.flush.flush_id)
                case "vad":
                    vad = decode_vad(request.vad)
                    vad.check_against(self._engine.info)
                    await session.change_vad(vad)
                case "config":
                    raise InvalidOptions("config", "the config was sent twice")
                case _:
                    raise InvalidOptions(
                        "request", "an empty request: no audio, no flush and no vad"
                    )

    def _encode_ready(self, session: Session, options: SessionOptions) -> Response:
        info = self._engine.info
        ready = stt_pb2.Ready(
            session_id=session.id,
            delay=to_duration(info.delay_s),
            frame_samples=info.frame_samples,
            sample_rate_hertz=info.sample_rate_hertz,
            audio_encoding=encode_encoding(options.encoding),
            audio_sample_rate_hertz=options.resolve_sample_rate_hertz(info),
        )
        return Response(ready=ready)


async def read_config(requests: AsyncIterator[Request]) -> stt_pb2.StreamingConfig:
    """The first request's config. Raises InvalidOptions if it has none."""
    first = await anext(requests, None)
    if first is None or first.WhichOneof("request") != "config":
        raise InvalidOptions("config", "the first message must carry the config")
    return first.config


def encode_ping(session: Session) -> Response:
    return Response(
        ping=stt_pb2.Ping(),
        processed_offset=to_duration(session.processed_s),
        lag=to_duration(session.lag_s),
    )
