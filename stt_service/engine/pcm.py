"""PCM: samples of a fixed width become floats, and floats are checked."""

from collections.abc import Iterable
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from stt_service.engine.errors import InvalidAudio
from stt_service.engine.model import FloatArray

# Floats are nominally within [-1, 1]. Clipping and loud mixes exceed that slightly; 18 dB over is
# not audio, most likely int16 samples sent as float32.
MAX_MAGNITUDE = 8.0
# Decoded in pieces of so many bytes: a whole file in one message must not block the event loop.
PIECE_BYTES = 32_768

_DTYPES = {"pcm_f32le": "<f4", "pcm_s16le": "<i2", "mulaw": "u1", "alaw": "u1"}
_G711_SUBTYPES = {"mulaw": "ULAW", "alaw": "ALAW"}
_INT16_SCALE = np.float32(1 / 32768)


class PcmDecoder:
    """Little-endian floats, little-endian int16, or G.711; a sample may be split.

    Floats are not copied: the samples are a read-only view of the message.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._dtype = np.dtype(_DTYPES[encoding])
        self._rest = b""
        self._samples_before = 0
        self.burst_s = 0.0

    def decode(self, data: bytes) -> Iterable[FloatArray]:
        """The samples that `data` completes, shape [samples], in pieces.

        InvalidAudio if a float is not finite or far outside [-1, 1].
        """
        # A live message is one piece, for which no generator need be made.
        if len(data) <= PIECE_BYTES:
            return (self._decode_piece(data),)
        starts = range(0, len(data), PIECE_BYTES)
        return (self._decode_piece(data[start : start + PIECE_BYTES]) for start in starts)

    def _decode_piece(self, data: bytes) -> FloatArray:
        samples = self._split(data)
        match self._encoding:
            case "pcm_f32le":
                return self._check(np.asarray(samples, dtype=np.float32))
            case "pcm_s16le":
                return np.multiply(samples, _INT16_SCALE, dtype=np.float32)
            case _:
                return g711_table(self._encoding)[samples]

    def _split(self, data: bytes) -> npt.NDArray[Any]:
        # Neither adding nothing nor taking everything copies bytes.
        data = self._rest + data
        whole = len(data) - len(data) % self._dtype.itemsize
        self._rest = data[whole:]
        return np.frombuffer(data[:whole], dtype=self._dtype)

    def _check(self, samples: FloatArray) -> FloatArray:
        # One pass for ordinary audio: no square is larger than the sum of all. NaN fails both
        # comparisons.
        if not (
            float(samples.dot(samples)) <= MAX_MAGNITUDE**2
            or np.abs(samples).max() <= MAX_MAGNITUDE
        ):
            index = int(np.argmin(np.abs(samples) <= MAX_MAGNITUDE))
            raise InvalidAudio(
                f"sample {self._samples_before + index} is {samples[index]:g}; float samples "
                "must be finite and within [-1, 1]. Is this int16 audio? Then say so: "
                "encoding pcm_s16le"
            )
        self._samples_before += len(samples)
        return samples


@cache
def g711_table(encoding: str) -> FloatArray:
    """The 256 values of mu-law or A-law, as libsndfile expands them; shape [256]."""
    every_code = BytesIO(bytes(range(256)))
    table, _ = soundfile.read(
        every_code,
        samplerate=8000,
        channels=1,
        format="RAW",
        subtype=_G711_SUBTYPES[encoding],
        dtype="float32",
    )
    return np.asarray(table, dtype=np.float32)
