"""A sound system without hardware: PulseAudio with null sinks, whose monitors are microphones."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEBIAN_PACKAGES = "pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins tmux"
START_TIMEOUT_S = 20.0

PULSE_SCRIPT = """\
load-module module-native-protocol-unix
load-module module-null-sink sink_name=kitchen rate=48000
load-module module-null-sink sink_name=garden rate=48000
set-default-source kitchen.monitor
"""

ALSA_CONFIGURATION = """\
pcm.!default { type pulse }
pcm.kitchen { type pulse
 device kitchen.monitor }
pcm.garden { type pulse
 device garden.monitor }
"""


def what_is_missing() -> str | None:
    """Why microphone tests cannot run here, or None."""
    missing = [name for name in ("pulseaudio", "paplay", "pactl", "tmux") if not shutil.which(name)]
    if ctypes.util.find_library("portaudio") is None:
        missing.append("libportaudio")
    if not any(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        missing.append("the ALSA plugin for PulseAudio")
    if not missing:
        return None
    return f"needs {', '.join(missing)}: apt install {DEBIAN_PACKAGES}"


@dataclass
class SoundSystem:
    """Two microphones, "kitchen" and "garden", and what a process needs in order to see them."""

    environment: dict[str, str]
    server: subprocess.Popen[bytes]

    def play(self, microphone: str, recording: Path) -> subprocess.Popen[bytes]:
        """Play a recording into a microphone, at real time."""
        command = ["paplay", f"--device={microphone}", str(recording)]
        return subprocess.Popen(command, env=self.environment)

    def unplug(self) -> None:
        """Take all devices away."""
        self.server.kill()
        self.server.wait()


@contextlib.contextmanager
def run_sound_system(folder: Path) -> Iterator[SoundSystem]:
    """Run PulseAudio with its state in `folder`."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    (folder / "null.pa").write_text(PULSE_SCRIPT)
    (folder / ".asoundrc").write_text(ALSA_CONFIGURATION)
    environment = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(runtime)}
    environment.pop("PULSE_SERVER", None)
    command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "-n", "-F"]
    with (folder / "pulse.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, str(folder / "null.pa")], env=environment, stdout=log, stderr=log
        )
    try:
        _wait_for_devices(environment)
        yield SoundSystem(environment, server)
    finally:
        server.terminate()
        server.wait()


def _wait_for_devices(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["pactl", "list", "short", "sources"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if "garden.monitor" in listed.stdout:
            return
        time.sleep(0.2)
    raise TimeoutError("PulseAudio did not come up")


class Screen:
    """A terminal of its own (tmux), in which a command runs as a person would run it."""

    def __init__(self, folder: Path, command: str, environment: dict[str, str]) -> None:
        self._socket = str(folder / "tmux")
        self._environment = environment
        self._tmux(
            "new-session", "-d", "-x", "100", "-y", "24", f"{command}; echo exit code $?; cat"
        )

    def read(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p", "-J").strip()

    def press(self, key: str) -> None:
        """Press a key."""
        self._tmux("send-keys", key)

    def wait_for(self, text: str, timeout_s: float = 60.0) -> str:
        """The screen once it shows `text`."""
        deadline = time.monotonic() + timeout_s
        while text not in (shown := self.read()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the screen never showed {text!r}; it shows:\n{shown}")
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        """End whatever runs in it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", os.devnull, *arguments]
        return subprocess.run(
            command, env=self._environment, check=True, capture_output=True, text=True
        ).stdout
