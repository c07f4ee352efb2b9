"""A word's text as soon as it is complete, which is sooner than the service's `word` event.

`word` waits until the end of the word was heard, 0.23 to 0.45 s after the last of its text. Other
protocols give the two apart: the text first, the end when it is known. The text is complete with
the first step that is not amidst a word. A step without a token may be: a letter can take several
pieces, and has a token with the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.protocols.messages import to_seconds
from stt.v1 import stt_pb2


@dataclass(frozen=True, slots=True)
class WordText:
    """A word without spaces around it, and where it starts."""

    text: str
    start_s: float


@dataclass(frozen=True, slots=True)
class WordEnd:
    """Where the word ends whose text was last."""

    end_s: float


class EarlyWords:
    """Makes words of one session's events, which have to include words and steps."""

    def __init__(self) -> None:
        self._text = ""
        self._start_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a word has begun whose text may go on."""
        return bool(self._text.strip())

    def feed(self, response: stt_pb2.StreamingTranscribeResponse) -> list[WordText | WordEnd]:
        """The texts and ends that are known now and were not before."""
        match response.WhichOneof("event"):
            case "token":
                return list(self._add(response.token))
            case "step":
                return [] if response.step.mid_word else list(self._close())
            case "word":
                end_s = to_seconds(response.word.end_offset)
                return [*self._close(), WordEnd(end_s)]
            case "flushed" | "final":
                return list(self._close())
            case _:
                return []

    def _add(self, token: stt_pb2.Token) -> list[WordText]:
        found = self._close() if token.text[:1].isspace() and self.is_open else []
        if not self.is_open:
            self._start_s = to_seconds(token.start_offset)
        self._text += token.text
        return found

    def _close(self) -> list[WordText]:
        text, self._text = self._text.strip(), ""
        return [WordText(text, self._start_s)] if text else []
