"""The work of stt-transcribe."""

from __future__ import annotations

import argparse
import io
import sys

from client.audio import STANDARD_INPUT, AudioError
from client.command.exit_codes import OK, OUTPUT_CLOSED, exit_code_for
from client.microphone import (
    MicrophoneSource,
    choose_device,
    list_input_devices,
    native_noise_hidden,
)
from client.rpc.errors import SttError
from client.transcribe.batch import transcribe_recordings
from client.transcribe.live import transcribe_live
from client.transcribe.messages import tell
from client.transcribe.outputs import OutputError, plan_outputs, silence_stdout


async def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        if arguments.output is None:
            _prepare_stdout()
        if arguments.files:
            inputs = [STANDARD_INPUT if name == "-" else name for name in arguments.files]
            return await transcribe_recordings(arguments, inputs)
        with native_noise_hidden():
            if arguments.list_devices:
                return _print_devices()
            return await _transcribe_microphone(arguments)
    except BrokenPipeError:
        # The reader of the transcript is gone.
        silence_stdout()
        return OUTPUT_CLOSED
    except (SttError, AudioError, OutputError, OSError, ValueError) as error:
        tell(error)
        return exit_code_for(error)


def _prepare_stdout() -> None:
    stdout: object = sys.stdout
    if stdout is None:
        raise OutputError("Standard output is closed.")
    if isinstance(stdout, io.TextIOWrapper):
        # The transcript is not lost to a terminal that cannot show a character.
        stdout.reconfigure(errors="replace")


def _print_devices() -> int:
    devices = list_input_devices()
    if not devices:
        raise AudioError("No microphone was found.")
    for device in devices:
        default = "  (default)" if device.is_default else ""
        print(
            f"{device.index:3}  {device.name}, {device.channels} channels, "
            f"{device.sample_rate_hertz:.0f} Hz{default}"
        )
    return OK


async def _transcribe_microphone(arguments: argparse.Namespace) -> int:
    output = arguments.output
    if output is not None:
        [output] = plan_outputs([], output, arguments.format)
    device = choose_device(list_input_devices(), arguments.device)
    return await transcribe_live(arguments, MicrophoneSource(device), output)
