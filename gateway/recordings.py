"""Whole recordings over HTTP: moshi-server takes a file by POST and answers with all its words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from client.rpc.errors import (
    InvalidRequest,
    ServerFull,
    ServerUnavailable,
    SttError,
    error_from_rpc,
)
from client.rpc.messages import to_duration
from client.rpc.writing import finish_writing, write_request
from gateway.config import GatewayConfig
from gateway.inbox import CHUNK_BYTES
from gateway.protocols.codec import ProtocolError
from gateway.protocols.moshi_http import encode_failure, encode_transcript
from gateway.protocols.wav import WavReader
from gateway.serving import extensions
from gateway.upstream import Call, Upstream
from stt.v1 import stt_pb2
from stt_service.process.tasks import first_of

IDLE_TIMEOUT_S = 60
CLIENT_GONE = 499
"""nginx's status for a client that went away; nobody reads it."""

_MAGIC_BYTES = 4
_USAGE = "POST a WAV file or Ogg Opus."
_NO_AUDIO = f"There is no audio in that. {_USAGE}"


class Recordings:
    """Transcribes what is POSTed while it is read: of a recording no more is held than of a
    stream."""

    def __init__(self, config: GatewayConfig, upstream: Upstream) -> None:
        self._config = config
        self._upstream = upstream

    async def transcribe(self, request: Request) -> Response:
        """The words of a request's body, or why there are none."""
        try:
            words = await self._transcribe(request)
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        except ProtocolError as error:
            return JSONResponse(encode_failure(str(error)), HTTPStatus.BAD_REQUEST)
        except grpc.aio.AioRpcError as rpc_error:
            return _answer_error(error_from_rpc(rpc_error))
        except SttError as error:
            return _answer_error(error)
        return JSONResponse(encode_transcript(words))

    async def _transcribe(self, request: Request) -> list[stt_pb2.Word]:
        async with contextlib.aclosing(_read_audio(request)) as audio:
            config = await anext(audio)
            if not isinstance(config, stt_pb2.StreamingConfig):
                raise ProtocolError(_USAGE)
            config.wait_for_slot.CopyFrom(to_duration(self._config.wait_for_slot_s))
            patience_s = self._config.patience_s
            async with self._upstream.admit(config, patience_s, lambda _: None) as admission:
                return await first_of(
                    _collect_words(admission.responses, request),
                    _write_audio(admission.call, audio),
                )


async def _read_audio(request: Request) -> AsyncGenerator[stt_pb2.StreamingConfig | bytes]:
    """How the recording is written, then its bytes."""
    body = _read_body(request)
    begin = b""
    while len(begin) < _MAGIC_BYTES and (piece := await anext(body, None)) is not None:
        begin += piece
    if begin.startswith(b"OggS"):
        yield _make_config(stt_pb2.ENCODING_OGG_OPUS, 0)
        yield begin
        async for piece in body:
            yield piece
    elif begin.startswith(b"RIFF"):
        async for piece in _read_wav(begin, body):
            yield piece
    elif len(begin) < _MAGIC_BYTES:
        raise ProtocolError(_NO_AUDIO)
    else:
        raise ProtocolError(f"That is neither a WAV file nor Ogg. {_USAGE}")


async def _read_wav(
    begin: bytes, body: AsyncIterator[bytes]
) -> AsyncGenerator[stt_pb2.StreamingConfig | bytes]:
    wav = WavReader()
    samples = wav.feed(begin)
    while not samples:
        if (piece := await anext(body, None)) is None:
            raise ProtocolError(_NO_AUDIO)
        samples = wav.feed(piece)
    assert wav.format is not None
    yield _make_config(wav.format.encoding, wav.format.sample_rate_hertz)
    yield samples
    async for piece in body:
        yield wav.feed(piece)


async def _read_body(request: Request) -> AsyncGenerator[bytes]:
    async for piece in request.stream():
        _note_progress(request)
        yield piece


def _make_config(
    encoding: stt_pb2.Encoding.ValueType, sample_rate_hertz: int
) -> stt_pb2.StreamingConfig:
    return stt_pb2.StreamingConfig(
        encoding=encoding,
        sample_rate_hertz=sample_rate_hertz,
        events=[stt_pb2.OPTIONAL_EVENT_WORD, stt_pb2.OPTIONAL_EVENT_PING],
        idle_timeout=Duration(seconds=IDLE_TIMEOUT_S),
    )


async def _write_audio(call: Call, audio: AsyncIterator[Any]) -> None:
    async for data in audio:
        for start in range(0, len(data), CHUNK_BYTES):
            part = data[start : start + CHUNK_BYTES]
            if not await write_request(call, stt_pb2.StreamingTranscribeRequest(audio=part)):
                return
    await finish_writing(call)


async def _collect_words(
    responses: AsyncIterator[stt_pb2.StreamingTranscribeResponse], request: Request
) -> list[stt_pb2.Word]:
    words: list[stt_pb2.Word] = []
    async for response in responses:
        _note_progress(request)
        if response.HasField("word"):
            words.append(response.word)
    return words


def _note_progress(request: Request) -> None:
    extensions.tell_server(request.scope, extensions.REQUEST, "note_progress")


def _answer_error(error: SttError) -> Response:
    match error:
        case InvalidRequest():
            status = HTTPStatus.BAD_REQUEST
        case ServerFull() | ServerUnavailable():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            status = HTTPStatus.BAD_GATEWAY
    return JSONResponse(encode_failure(str(error)), status)
