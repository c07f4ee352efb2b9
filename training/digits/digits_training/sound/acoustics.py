"""Make a composed utterance sound like a room, a microphone and a line, and like a stream.

A stream holds stretches of exact zeros: a muted microphone, a client that pads, the silence that
the engine feeds at a flush. Sound returns after them without any transition.
"""

# scipy is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from digits_training.sound.clips import MARGIN_BEFORE_SECONDS, FloatArray
from digits_training.sound.composition import Spoken, Utterance
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

MUTE_AFTER_WORD_SECONDS = 0.1
_RESPONSE_SAMPLES = 8_192
_EQUALIZER_HERTZ = np.array([60.0, 200.0, 500.0, 1_200.0, 2_500.0, 5_000.0, 12_000.0])
_FAINTEST = 1e-6


@dataclass(frozen=True)
class Conditions:
    """Ranges and shares of what happens to a window."""

    level_db: tuple[float, float] = (-26.0, 6.0)
    noiseless_share: float = 0.18
    noise_snr_db: tuple[float, float] = (3.0, 42.0)
    faint_noise_share: float = 0.12
    noise_floor_dbfs: tuple[float, float] = (-85.0, -28.0)
    shaped_noise_share: float = 0.6
    noise_tilt_db: float = 40.0
    noise_with_words_share: float = 0.25
    reverb_share: float = 0.4
    reverb_decay_s: tuple[float, float] = (0.04, 0.4)
    reverb_level: tuple[float, float] = (0.02, 0.5)
    narrow_band_share: float = 0.6
    narrow_band_hertz: tuple[float, float] = (3_200.0, 5_000.0)
    tilt_db: float = 14.0
    zeros_share: float = 0.45
    int16_share: float = 0.4
    mulaw_share: float = 0.06


@dataclass
class Acoustics:
    """Renders utterances. `noises` are long stretches with a root mean square of one."""

    noises: list[FloatArray]
    conditions: Conditions = Conditions()

    def render(self, rng: np.random.Generator, utterance: Utterance) -> FloatArray:
        """Returns float32 [utterance.seconds * 24,000], within [-1, 1]."""
        conditions = self.conditions
        sound = lay_words(utterance)
        if utterance.words:
            sound = self._color(rng, sound) * 10 ** (rng.uniform(*conditions.level_db) / 20)
        if rng.random() >= conditions.noiseless_share:
            noise = self._draw_noise(rng, sound)
            if utterance.words and rng.random() < conditions.noise_with_words_share:
                noise = noise * mark_clips(utterance)
            sound = sound + noise
        if rng.random() < conditions.zeros_share:
            sound = mute_gaps(rng, sound, utterance)
        return self._digitize(rng, np.clip(sound, -1, 1)).astype(np.float32)

    def _color(self, rng: np.random.Generator, sound: FloatArray) -> FloatArray:
        """Filter with a random room, equalizer and band limit, in one multiplication."""
        conditions = self.conditions
        size = scipy.fft.next_fast_len(len(sound) + _RESPONSE_SAMPLES, real=True)
        response = np.zeros(_RESPONSE_SAMPLES, np.float32)
        response[0] = 1
        if rng.random() < conditions.reverb_share:
            decay_s = rng.uniform(*conditions.reverb_decay_s)
            times_s = np.arange(1, _RESPONSE_SAMPLES, dtype=np.float32) / SAMPLE_RATE_HERTZ
            tail = rng.standard_normal(_RESPONSE_SAMPLES - 1, np.float32) * np.exp(
                -3 * times_s / decay_s
            )
            response[1:] = rng.uniform(*conditions.reverb_level) * tail / np.linalg.norm(tail)
        frequencies = scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE_HERTZ)
        curve_db = draw_equalizer(rng, frequencies, conditions.tilt_db)
        if rng.random() < conditions.narrow_band_share:
            cut_hertz = rng.uniform(*conditions.narrow_band_hertz)
            curve_db = curve_db - np.clip((frequencies - cut_hertz) / cut_hertz * 120, 0, 60)
        room = np.asarray(scipy.fft.rfft(response, size))
        transfer = room * (10 ** (curve_db / 20)).astype(np.float32)
        filtered = np.asarray(scipy.fft.rfft(sound, size)) * transfer
        return np.asarray(scipy.fft.irfft(filtered, size), np.float32)[: len(sound)]

    def _draw_noise(self, rng: np.random.Generator, sound: FloatArray) -> FloatArray:
        conditions = self.conditions
        noise = self.noises[rng.integers(len(self.noises))]
        start = rng.integers(len(noise) - len(sound))
        noise = noise[start : start + len(sound)]
        if rng.random() < conditions.shaped_noise_share:
            noise = shape(rng, noise, conditions.noise_tilt_db)
        audible = sound[np.abs(sound) > 0.02 * np.abs(sound).max(initial=0.0)]
        if len(audible) == 0 or rng.random() < conditions.faint_noise_share:
            floor_dbfs = conditions.noise_floor_dbfs
            level = (
                10 ** (rng.uniform(*floor_dbfs) / 20)
                if len(audible) == 0
                else 10 ** (rng.uniform(floor_dbfs[0], -60) / 20)
            )
        else:
            snr_db = rng.uniform(*conditions.noise_snr_db)
            level = np.sqrt(np.mean(audible**2)) * 10 ** (-snr_db / 20)
        return noise * np.float32(level)

    def _digitize(self, rng: np.random.Generator, sound: FloatArray) -> FloatArray:
        if rng.random() < self.conditions.mulaw_share:
            return pass_through_mulaw(sound)
        if rng.random() < self.conditions.int16_share:
            return (np.round(sound * 32_767) / 32_767).astype(np.float32)
        return sound


def draw_equalizer(
    rng: np.random.Generator, frequencies_hertz: npt.NDArray[np.floating], tilt_db: float
) -> npt.NDArray[np.float64]:
    """A smooth random curve of gains in dB; no two of them are further apart than tilt_db."""
    gains_db = rng.uniform(-tilt_db, tilt_db, len(_EQUALIZER_HERTZ)) / 2
    return np.interp(np.log(np.maximum(frequencies_hertz, 30)), np.log(_EQUALIZER_HERTZ), gains_db)


def shape(rng: np.random.Generator, noise: FloatArray, tilt_db: float) -> FloatArray:
    """Give a noise another spectrum; its root mean square stays one."""
    size = scipy.fft.next_fast_len(len(noise), real=True)
    curve_db = draw_equalizer(rng, scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE_HERTZ), tilt_db)
    spectrum = np.asarray(scipy.fft.rfft(noise, size)) * (10 ** (curve_db / 20)).astype(np.float32)
    shaped = np.asarray(scipy.fft.irfft(spectrum, size), np.float32)[: len(noise)]
    return shaped / max(float(np.sqrt(np.mean(shaped**2))), _FAINTEST)


def mark_clips(utterance: Utterance) -> FloatArray:
    """One where a clip lies and zero elsewhere: a recording brings its noise with it."""
    marks = np.zeros(round(utterance.seconds * SAMPLE_RATE_HERTZ), np.float32)
    for spoken in utterance.words:
        if spoken.carried:
            continue
        first = spoken.clip_start_s * SAMPLE_RATE_HERTZ
        samples = len(spoken.clip.samples) / spoken.speed
        marks[max(0, int(first)) : int(first + samples)] = 1
    return marks


def lay_words(utterance: Utterance) -> FloatArray:
    """Add up the words of an utterance, each at its speed, on exact silence."""
    sound = np.zeros(round(utterance.seconds * SAMPLE_RATE_HERTZ), np.float32)
    for spoken in utterance.words:
        if spoken.carried:
            continue
        samples = change_speed(spoken)
        at = int(spoken.clip_start_s * SAMPLE_RATE_HERTZ)
        if at < 0:
            samples, at = samples[-at:], 0
        samples = samples[: len(sound) - at]
        sound[at : at + len(samples)] += samples * spoken.gain
    return sound


def change_speed(spoken: Spoken) -> FloatArray:
    """Play a clip faster or slower, as a tape would: pitch and formants move with it."""
    return soxr.resample(
        spoken.clip.samples, SAMPLE_RATE_HERTZ * spoken.speed, SAMPLE_RATE_HERTZ, quality="MQ"
    )


def mute_gaps(rng: np.random.Generator, sound: FloatArray, utterance: Utterance) -> FloatArray:
    """Replace parts of the gaps by exact zeros, with hard edges; the edges of words stay whole."""
    sound = sound.copy()
    starts_s = [0.0] + [word.end_s + MUTE_AFTER_WORD_SECONDS for word in utterance.words]
    stops_s = [word.start_s - MARGIN_BEFORE_SECONDS for word in utterance.words]
    for gap_start_s, gap_end_s in zip(starts_s, [*stops_s, utterance.seconds], strict=True):
        opens_stream = gap_start_s == 0.0
        if gap_end_s <= gap_start_s or rng.random() > (0.8 if opens_stream else 0.4):
            continue
        from_start = opens_stream and rng.random() < 0.7
        mute_s = gap_start_s if from_start else rng.uniform(gap_start_s, gap_end_s)
        unmute_s = rng.uniform(mute_s, gap_end_s)
        sound[int(mute_s * SAMPLE_RATE_HERTZ) : int(unmute_s * SAMPLE_RATE_HERTZ)] = 0
    return sound


def pass_through_mulaw(sound: FloatArray) -> FloatArray:
    """What an 8-bit µ-law line leaves of the levels."""
    mu = np.float32(255)
    coded = np.sign(sound) * np.log1p(mu * np.abs(sound)) / np.log1p(mu)
    coded = np.round(coded * 127) / 127
    return np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu
