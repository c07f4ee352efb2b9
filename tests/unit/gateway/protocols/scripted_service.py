"""The engine's own session behind a codec, with a model that says what a test wants."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack
import numpy as np

from gateway.protocols.codec import Codec, End, Item, Message, Reply
from stt.v1 import stt_pb2
from stt_service.engine.events import Event, Final, Word
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.session import Update
from stt_service.engine.session_state import Finish, Flush, Mark, SessionState, Stall
from stt_service.translation import encode_response
from tests.unit.engine.models import PADDING, make_frame, make_info
from tests.unit.gateway.protocols import events

EVENTS = set(stt_pb2.OptionalEvent.values())

MOSHI_FRAME = msgpack.packb({"type": "Audio", "pcm": [0.0] * 1920}, use_single_float=True)
_SILENCE = base64.b64encode(bytes(3840)).decode()
GRADIUM_FRAME = json.dumps({"type": "audio", "audio": _SILENCE})
OPENAI_FRAME = json.dumps({"type": "input_audio_buffer.append", "audio": _SILENCE})


class ScriptedService:
    """One session: a codec's items go to the engine, and the engine's events to the codec."""

    def __init__(self, codec: Codec, frame: Message, heads: int = 4, delay_s: float = 0.5) -> None:
        self.codec = codec
        self.messages: list[dict[str, Any]] = []
        self.words: list[Word] = []
        self._frame = frame
        self._info = make_info(heads=heads, delay_s=delay_s)
        options = SessionOptions(vad=VadOptions(1.0), wants_steps=True, wants_utterances=True)
        self._state = SessionState("s", options, self._info)
        self._handle(codec.greet())
        self._collect(codec.encode_event(events.ready(delay_s)))

    def hear(self, *text_ids: int, pause: float = 0.0) -> None:
        """The client sends a frame for each id, which the model writes when it hears it."""
        for text_id in text_ids:
            self._handle(self.codec.decode(self._frame), text_id, pause)

    def send(self, message: Message, text_ids: Sequence[int] = ()) -> None:
        """The client sends a message. If the engine flushes, the model writes these ids."""
        self._handle(self.codec.decode(message), *text_ids)

    def stall(self, text_ids: Sequence[int] = ()) -> None:
        """No audio comes for a while; the service notices too."""
        self._handle(self.codec.stalled(), *text_ids)
        self._push(Stall(), text_ids)

    def finish(self) -> None:
        """The session ends in order."""
        self._push(Finish())

    def find(self, kind: str) -> list[dict[str, Any]]:
        """The client's messages of one type, in order."""
        return [message for message in self.messages if message["type"] == kind]

    def _handle(self, items: Sequence[Item], *text_ids: int | float) -> None:
        for item in items:
            match item:
                case bytes():
                    text_id, pause = text_ids
                    self._state.push([make_frame(level=0.0)])
                    self._step(int(text_id), pause)
                case stt_pb2.Flush():
                    self._push(Flush(item.flush_id), [int(one) for one in text_ids])
                case Reply(messages):
                    self._collect(messages)
                case End():
                    self.finish()
                case _:
                    pass

    def _push(self, mark: Mark, text_ids: Sequence[int] = ()) -> None:
        self._state.push([mark])
        ids = iter(text_ids)
        while self._step(next(ids, PADDING)):
            pass

    def _step(self, text_id: int, pause: float = 0.0) -> bool:
        self._deliver(self._state.reach_marks())
        frame = self._state.take_frame()
        if frame is None:
            return False
        pauses = np.full(len(self._info.pause_heads_s), pause, dtype=np.float32)
        self._deliver(self._state.apply(frame, text_id, 1.0, pauses))
        return True

    def _deliver(self, found: Iterable[Event]) -> None:
        for event in found:
            if isinstance(event, Final):
                self.words = list(event.words)
            update = Update(event, self._state.processed_s, 0.0, None)
            response = encode_response(update, EVENTS)
            assert response is not None
            self._collect(self.codec.encode_event(response))

    def _collect(self, messages: Sequence[Message]) -> None:
        for message in messages:
            is_text = isinstance(message, str)
            self.messages.append(json.loads(message) if is_text else msgpack.unpackb(message))
