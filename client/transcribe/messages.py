"""Messages of stt-transcribe on standard error."""

from __future__ import annotations

import sys

from client.audio import FileSource
from client.rpc.events import Final

PROGRAM = "stt-transcribe"


def tell(text: object) -> None:
    """One line on standard error."""
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - closed by the caller
        print(f"{PROGRAM}: {text}", file=sys.stderr)


def tell_if_wordless(source: FileSource, final: Final) -> None:
    """Explain an empty transcript, which is not a failure."""
    if final.transcript.strip():
        return
    sound = "" if source.has_sound else " and no sound: every sample of it is zero"
    tell(f"{source.name}: no words were found in {final.audio_duration_s:.1f} s of audio{sound}.")
