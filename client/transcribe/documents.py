"""Finished transcripts as text, JSON, SRT or WebVTT."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from client.rpc.events import Final
from client.transcribe.formats import SUFFIXES
from client.transcribe.subtitles import Cue, make_cues, to_srt, to_vtt


@dataclass(frozen=True)
class Document:
    """One finished transcript. `name` is the recording's path, and None for a microphone."""

    name: str | None
    final: Final
    pauses_s: tuple[float, ...] = ()

    def render(self, format_name: str) -> str:
        """The document, ending with a line break."""
        match format_name:
            case "text":
                return self.final.transcript.strip() + "\n"
            case "json":
                return json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n"
            case "srt":
                return to_srt(self._cues())
            case "vtt":
                return to_vtt(self._cues())
            case _:
                raise ValueError(
                    f"There is no format {format_name!r}; known are {tuple(SUFFIXES)}."
                )

    def to_json(self) -> dict[str, Any]:
        """Times in seconds from the start of the audio."""
        return {
            # A name that is no text would make the whole document none.
            "file": self.name and os.fsencode(self.name).decode(errors="replace"),
            "transcript": self.final.transcript.strip(),
            "audio_duration_s": round(self.final.audio_duration_s, 3),
            "words": [
                {
                    "text": word.text,
                    "start_s": round(word.start_s, 3),
                    "end_s": round(word.end_s, 3),
                    "confidence": round(word.confidence, 4),
                }
                for word in self.final.words
            ],
            "pauses_s": [round(pause_s, 3) for pause_s in self.pauses_s],
        }

    def _cues(self) -> list[Cue]:
        return make_cues(self.final.words, self.pauses_s, self.final.audio_duration_s)
