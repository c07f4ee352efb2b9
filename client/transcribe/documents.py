"""Finished transcripts as text, JSON, SRT or WebVTT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from client.events import Final
from client.transcribe.subtitles import make_cues, to_srt, to_vtt

FORMATS = ("text", "json", "srt", "vtt")


@dataclass(frozen=True)
class Document:
    """One finished transcript. `name` is None for a microphone."""

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
                return to_srt(make_cues(self.final.words, self.pauses_s))
            case "vtt":
                return to_vtt(make_cues(self.final.words, self.pauses_s))
            case _:
                raise ValueError(f"There is no format {format_name!r}; known are {FORMATS}.")

    def to_json(self) -> dict[str, Any]:
        """Times in seconds from the start of the audio."""
        return {
            "file": self.name,
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


def render_all(documents: Sequence[Document], format_name: str) -> str:
    """One document as it is; several as a JSON list, or as texts under their names."""
    if len(documents) == 1:
        return documents[0].render(format_name)
    if format_name == "json":
        listed = [document.to_json() for document in documents]
        return json.dumps(listed, ensure_ascii=False, indent=1) + "\n"
    return "\n".join(
        f"==> {document.name} <==\n{document.render(format_name)}" for document in documents
    )
