"""stt-transcribe with a microphone, as a person uses it: typed into a terminal, read off it."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import srt

from tests.integration.client.sound_system import (
    Screen,
    SoundSystem,
    run_sound_system,
    what_is_missing,
)
from tests.support import MODEL_RATE_HERTZ, Recording, Service

COMMAND = [sys.executable, "-m", "client.transcribe_cli"]

needs_sound = pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[SoundSystem]:
    with run_sound_system(tmp_path) as running:
        yield running


@pytest.fixture
def speech(recordings: tuple[Recording, ...], tmp_path: Path) -> tuple[Path, list[str]]:
    """Nine seconds of digits, and what they are."""
    chosen = recordings[:2]
    path = tmp_path / "speech.wav"
    samples = np.concatenate([recording.samples() for recording in chosen])
    soundfile.write(path, samples, MODEL_RATE_HERTZ)
    return path, [word for recording in chosen for word in recording.text.split()]


@pytest.fixture
def open_screen(tmp_path: Path, sound: SoundSystem) -> Iterator[object]:
    screens: list[Screen] = []

    def open_with(*arguments: str) -> Screen:
        screens.append(Screen(tmp_path, " ".join([*COMMAND, *arguments]), sound.environment))
        return screens[-1]

    yield open_with
    for screen in screens:
        screen.close()


@pytest.fixture
def digits(recordings: tuple[Recording, ...]) -> tuple[Path, list[str]]:
    """Four seconds of them."""
    return recordings[1].path, recordings[1].text.split()


def words_on(screen: str) -> list[str]:
    digits = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
    return [word for word in screen.split() if word in digits]


@needs_sound
def test_digits_appear_while_they_are_spoken_and_ctrl_c_loses_nothing(
    service: Service, sound: SoundSystem, speech: tuple[Path, list[str]], open_screen: object
) -> None:
    path, words = speech
    screen = open_screen("--grpc", service.grpc, "--device", "kitchen")
    shown = screen.wait_for("listening to kitchen")
    assert "dB" in shown
    assert "Ctrl-C ends" in shown

    with sound.play("kitchen", path) as player:
        shown = screen.wait_for(words[0])
        assert player.poll() is None, "the first digit came only after everything was played"
        assert "s behind" in shown
        player.wait()
    # At once: the last word is still on its way through the model.
    screen.press("C-c")
    shown = screen.wait_for("exit code 0")

    assert words_on(shown) == words


@needs_sound
def test_the_other_microphone_hears_nothing_of_it(
    service: Service, sound: SoundSystem, digits: tuple[Path, list[str]]
) -> None:
    """Both microphones at once: the one that was chosen is the one that is heard."""
    path, words = digits
    running = {
        name: subprocess.Popen(
            [*COMMAND, "--url", f"ws://{service.http}", "--device", name, "--format", "srt"],
            env=sound.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("kitchen", "garden")
    }
    try:
        for process in running.values():
            assert process.stderr is not None
            while "listening" not in process.stderr.readline():
                assert process.poll() is None
        sound.play("garden", path).wait()
        outputs = {}
        for name, process in running.items():
            process.send_signal(2)
            outputs[name], _ = process.communicate(timeout=60)
    finally:
        for process in running.values():
            process.kill()

    cues = list(srt.parse(outputs["garden"]))
    assert " ".join(cue.content for cue in cues).split() == words
    assert outputs["kitchen"] == ""
    assert all(process.returncode == 0 for process in running.values())


@needs_sound
def test_devices_are_listed_and_a_wrong_one_is_named(sound: SoundSystem) -> None:
    listed = subprocess.run(
        [*COMMAND, "--list-devices"], env=sound.environment, capture_output=True, text=True
    )
    assert listed.returncode == 0
    assert "kitchen" in listed.stdout
    assert "garden" in listed.stdout
    assert "(default)" in listed.stdout
    # ALSA's messages about devices that it did not find are hidden.
    assert listed.stderr == ""

    wrong = subprocess.run(
        [*COMMAND, "--device", "cellar"], env=sound.environment, capture_output=True, text=True
    )
    assert wrong.returncode == 3
    assert "There is no recording device 'cellar'" in wrong.stderr
    assert "kitchen" in wrong.stderr


@needs_sound
def test_a_device_that_vanishes_ends_with_its_words_and_one_sentence(
    service: Service, sound: SoundSystem, digits: tuple[Path, list[str]]
) -> None:
    path, words = digits
    process = subprocess.Popen(
        [*COMMAND, "--grpc", service.grpc, "--device", "kitchen"],
        env=sound.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        sound.play("kitchen", path).wait()
        sound.unplug()
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 3
    assert output.split() == words
    [sentence] = errors.splitlines()
    assert "has stopped giving audio" in sentence


def test_without_portaudio_the_package_is_named(tmp_path: Path) -> None:
    environment = {"PATH": "", "PYTHONPATH": str(tmp_path)}
    if ctypes.util.find_library("portaudio") is not None:
        # It is installed here: stand in for the module, which fails like this where it is not.
        shim = 'raise OSError("PortAudio library not found")\n'
        (tmp_path / "sounddevice.py").write_text(shim)
    failed = subprocess.run(
        [*COMMAND, "--list-devices"], env=environment, capture_output=True, text=True
    )

    assert failed.returncode == 3
    for part in ("apt install libportaudio2", "dnf install portaudio", "brew install portaudio"):
        assert part in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


@needs_sound
def test_without_a_microphone_there_is_one_sentence(tmp_path: Path) -> None:
    # No PulseAudio runs for this home, and the machine itself has no sound card.
    if Path("/proc/asound/cards").exists():
        pytest.skip("this machine has a sound card")
    environment = {"PATH": "", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    failed = subprocess.run([*COMMAND], env=environment, capture_output=True, text=True)

    assert failed.returncode == 3
    assert failed.stderr == (
        "stt-transcribe: No microphone was found. "
        "Plug one in, or name a recording (`-` for a pipe).\n"
    )
