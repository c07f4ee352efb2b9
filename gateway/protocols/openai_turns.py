"""The turns of a session of OpenAI's realtime transcription, as events for its client.

A turn is an item with an id. It begins with its first text (`speech_started`, `delta`) and ends
with its `completed`: after a commit of the client once the service has flushed, or by itself where
turn detection is on and the service closes an utterance. There is one `completed` for each commit,
an empty one too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.protocols.messages import Json, to_milliseconds, to_seconds
from stt.v1 import stt_pb2

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_BUFFER = "input_audio_buffer"


@dataclass
class Turn:
    """One item of the conversation."""

    item_id: str
    is_committed: bool = False
    """Whether its client has ended it, so that it is complete with the next `flushed`."""
    is_discarded: bool = False
    """Whether its client has cleared it, so that nothing more is said of it."""
    is_detected: bool = False
    """Whether `speech_started` was sent, and nothing yet that stops it."""
    is_stopped: bool = False
    tokens: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """Texts, and where their words start."""
    utterances: list[str] = field(default_factory=list[str])

    @property
    def transcript(self) -> str:
        """The words that are certain."""
        return " ".join(self.utterances)

    def add(self, text: str, start_s: float) -> str:
        """Append a token; what of it is new in the transcript, which begins with no space."""
        is_first = not any(before.strip() for before, _ in self.tokens)
        self.tokens.append((text, start_s))
        return text.lstrip() if is_first else text


class TurnTracker:
    """Turns a session's events into those of its client; `prefix` makes the items' ids unique."""

    def __init__(self, prefix: str) -> None:
        self.detects = True
        """Whether pauses end turns."""
        self._prefix = prefix
        self._count = 0
        self._last_item_id: str | None = None
        # Ended by the client, in order; the first is the one whose words come now.
        self._ended: deque[Turn] = deque()
        self._open = self._begin_turn()
        self._processed_s = 0.0
        self._completed_at_s = 0.0

    def commit(self) -> list[Json]:
        """The client ends the turn; the service is to flush, and says `flushed` once for it."""
        self._open.is_committed = True
        committed = self._encode_committed(self._open)
        self._end_open_turn()
        return [committed]

    def discard(self) -> list[Json]:
        """The client takes back what it sent since the last turn; flush for this too."""
        self._open.is_discarded = True
        self._end_open_turn()
        return [{"type": f"{_BUFFER}.cleared"}]

    def feed(self, response: stt_pb2.StreamingTranscribeResponse) -> list[Json]:
        """The client's events for one of the service's."""
        self._processed_s = max(self._processed_s, to_seconds(response.processed_offset))
        turn = self._ended[0] if self._ended else self._open
        match response.WhichOneof("event"):
            case "token":
                start_s = to_seconds(response.token.start_offset)
                return self._add_token(turn, response.token.text, start_s)
            case "vad_end":
                return self._stop(turn, to_milliseconds(response.vad_end.offset))
            case "utterance":
                return self._add_utterance(turn, response.utterance)
            case "flushed" if self._ended:
                self._ended.popleft()
                return self._finish(turn)
            case "final":
                return self._finish(turn) if turn.utterances else []
            case _:
                return []

    def _add_token(self, turn: Turn, text: str, start_s: float) -> list[Json]:
        if turn.is_discarded:
            return []
        events: list[Json] = []
        if self.detects and not turn.tokens:
            turn.is_detected = True
            events.append(
                {
                    "type": f"{_BUFFER}.speech_started",
                    "item_id": turn.item_id,
                    "audio_start_ms": round(start_s * 1000),
                }
            )
        if delta := turn.add(text, start_s):
            events.append(
                {
                    "type": f"{_TRANSCRIPTION}.delta",
                    "item_id": turn.item_id,
                    "content_index": 0,
                    "delta": delta,
                }
            )
        return events

    def _stop(self, turn: Turn, end_ms: int) -> list[Json]:
        """The speaker has paused; the turn's last words may still come."""
        if turn.is_stopped or not turn.is_detected:
            return []
        turn.is_stopped = True
        stopped: Json = {
            "type": f"{_BUFFER}.speech_stopped",
            "item_id": turn.item_id,
            "audio_end_ms": end_ms,
        }
        return [stopped]

    def _add_utterance(self, turn: Turn, utterance: stt_pb2.Utterance) -> list[Json]:
        turn.utterances.append(utterance.text)
        if not self.detects or turn.is_committed or turn.is_discarded:
            return []
        events = self._stop(turn, to_milliseconds(utterance.end_offset))
        events.append(self._encode_committed(turn))
        # A word of the next turn may have been written before this one was closed.
        last_start_s = max(
            (to_seconds(word.start_offset) for word in utterance.words), default=None
        )
        early = [
            token for token in turn.tokens if last_start_s is not None and token[1] > last_start_s
        ]
        events.append(self._complete(turn))
        self._open = self._begin_turn()
        for text, start_s in early:
            events += self._add_token(self._open, text, start_s)
        return events

    def _finish(self, turn: Turn) -> list[Json]:
        """A turn that the client has ended, or whose session ends."""
        events = self._stop(turn, round(self._processed_s * 1000))
        if turn.is_discarded:
            return events
        return [*events, self._complete(turn)]

    def _complete(self, turn: Turn) -> Json:
        duration_s = max(0.0, self._processed_s - self._completed_at_s)
        self._completed_at_s = self._processed_s
        return {
            "type": f"{_TRANSCRIPTION}.completed",
            "item_id": turn.item_id,
            "content_index": 0,
            "transcript": turn.transcript,
            "usage": {"type": "duration", "seconds": round(duration_s, 3)},
        }

    def _encode_committed(self, turn: Turn) -> Json:
        before, self._last_item_id = self._last_item_id, turn.item_id
        return {
            "type": f"{_BUFFER}.committed",
            "item_id": turn.item_id,
            "previous_item_id": before,
        }

    def _end_open_turn(self) -> None:
        self._ended.append(self._open)
        self._open = self._begin_turn()

    def _begin_turn(self) -> Turn:
        self._count += 1
        return Turn(f"item_{self._prefix}_{self._count}")
