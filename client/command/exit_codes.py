"""What the commands' exit codes mean, and the one mapping from errors to them."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
AUDIO = 3
CREDENTIALS = 4
UNAVAILABLE = 5
INTERRUPTED = 130
OUTPUT_CLOSED = 141

EXPLANATION = """\
exit codes (of several failures the first decides):
  0    all done; also a microphone or pipe that was ended with Ctrl-C
  1    the service failed, or a transcript could not be written
  2    wrong usage
  3    no PortAudio, no microphone, or a recording that is unreadable, without audio, cut off or
       damaged (what was heard is written)
  4    credentials refused
  5    no service at the address, or it is starting or full
  130  interrupted
  141  standard output was closed by its reader
"""


def exit_code_for(error: Exception) -> int:
    """The exit code for what ended a command."""
    # Imported here: --help needs only the numbers.
    from client.audio import AudioError
    from client.rpc.errors import (
        InvalidRequest,
        NoSuchService,
        ServerFull,
        ServerUnavailable,
        Unauthenticated,
    )

    match error:
        case AudioError():
            return AUDIO
        case Unauthenticated():
            return CREDENTIALS
        case ServerFull() | ServerUnavailable() | NoSuchService():
            return UNAVAILABLE
        case InvalidRequest() | ValueError():
            return USAGE
        case _:
            return FAILED
