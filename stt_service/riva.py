"""NVIDIA Riva's gRPC service of speech recognition, over the same sessions as our own."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from stt.nvidia_riva import riva_asr_pb2, riva_asr_pb2_grpc
from stt_service.engine.errors import IdleTimeout, InvalidOptions
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session
from stt_service.riva_audio import AudioReader
from stt_service.riva_translation import (
    IDLE_TIMEOUT_S,
    Request,
    StreamingResults,
    decode_streaming_options,
    encode_models,
    encode_recognition,
    read_config,
)
from stt_service.sessions import Sessions
from stt_service.writing import Context


class RivaServicer(riva_asr_pb2_grpc.RivaSpeechRecognitionServicer):
    """nvidia.riva.asr.RivaSpeechRecognition on an engine."""

    def __init__(self, sessions: Sessions, *, model_name: str, description: str) -> None:
        self._sessions = sessions
        self._model_name = model_name
        self._description = description

    # Writes to the context instead of being a generator, as StreamingTranscribe does.
    async def StreamingRecognize(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request_iterator: AsyncIterator[Request], context: Context
    ) -> None:
        request = await anext(request_iterator, None)
        config = read_config(request)
        info = self._sessions.engine.info
        results = StreamingResults(config)
        if request is not None:
            results.note_request(request)
        reader = AudioReader(config.config)
        audio = self._read_audio(request_iterator, reader, results)
        async with contextlib.aclosing(audio):
            beginning = await read_until_format_is_known(audio, reader)
            if reader.format is None:
                # It ended before there was audio.
                return
            options = decode_streaming_options(config.config, reader.format, info)
            async with (
                self._sessions.open(options, context) as session,
                self._sessions.feeding(session, partial(push_all, beginning, audio)),
            ):
                await self._sessions.send(session, results.encode, context)

    async def Recognize(
        self, request: riva_asr_pb2.RecognizeRequest, context: Context
    ) -> riva_asr_pb2.RecognizeResponse:
        reader = AudioReader(request.config)
        audio = reader.feed(self._sessions.take_audio(request.audio)) + reader.finish()
        if reader.format is None:
            raise InvalidOptions("audio", "there is no audio")
        options = SessionOptions(reader.format.encoding, reader.format.sample_rate_hertz)
        final = await self._sessions.transcribe(audio, options, context)
        return encode_recognition(final, request)

    async def GetRivaSpeechRecognitionConfig(
        self, request: riva_asr_pb2.RivaSpeechRecognitionConfigRequest, context: Context
    ) -> riva_asr_pb2.RivaSpeechRecognitionConfigResponse:
        info = self._sessions.engine.info
        return encode_models(request, self._model_name, self._description, info)

    async def _read_audio(
        self, requests: AsyncIterator[Request], reader: AudioReader, results: StreamingResults
    ) -> AsyncGenerator[bytes]:
        """The caller's audio, until it half-closes."""
        async for request in requests:
            results.note_request(request)
            match request.WhichOneof("streaming_request"):
                case "audio_content":
                    yield reader.feed(self._sessions.take_audio(request.audio_content))
                case "streaming_config":
                    raise InvalidOptions("streaming_config", "the config was sent twice")
                case _:
                    # Newer clients have settings that older servers do not know.
                    pass
        yield reader.finish()


async def push_all(beginning: bytes, audio: AsyncIterator[bytes], session: Session) -> None:
    """Hand all audio to the session."""
    await session.push_audio(beginning)
    async for samples in audio:
        await session.push_audio(samples)


async def read_until_format_is_known(audio: AsyncIterator[bytes], reader: AudioReader) -> bytes:
    """Read so much audio that it says how it is written, if the config does not.

    Raises IdleTimeout if none comes; no slot is taken meanwhile.
    """
    beginning = b""
    try:
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            while reader.format is None:
                samples = await anext(audio, None)
                if samples is None:
                    break
                beginning += samples
    except TimeoutError:
        raise IdleTimeout(IDLE_TIMEOUT_S) from None
    return beginning
