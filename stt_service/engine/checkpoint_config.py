"""A checkpoint's config.json, checked before anything is loaded by it. Pure.

What does not fit the weights is found when they are loaded. What nothing else would find is here:
numbers that load, and then hang or kill the first session.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from stt_service.engine.errors import UnsuitableCheckpoint

Config = Mapping[str, Any]

MAX_CONFIG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """What one number may be; `whole` ones are written without a decimal point."""

    lowest: float
    highest: float
    whole: bool = True
    required: bool = False

    def holds(self, value: object) -> bool:
        # To Python, true is a number.
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.lowest <= value <= self.highest

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.lowest:g} to {self.highest:g}"


def _whole(lowest: int, highest: int, *, required: bool = True) -> Range:
    return Range(lowest, highest, required=required)


def _real(lowest: float, highest: float, *, required: bool = False) -> Range:
    return Range(lowest, highest, whole=False, required=required)


# Kyutai's 1B and 2.6B models are well within; an order of magnitude beyond is no model of today.
LANGUAGE_MODEL: Mapping[str, Range] = {
    "dim": _whole(1, 65_536),
    "num_heads": _whole(1, 1_024),
    "num_layers": _whole(1, 1_024),
    "n_q": _whole(1, 256),
    "dep_q": _whole(0, 256),
    "card": _whole(2, 1_000_000),
    "text_card": _whole(4, 1_000_000),
    # In steps of 80 ms; keys and values of so many are kept for every slot.
    "context": _whole(1, 100_000),
    "hidden_scale": _real(0.1, 64),
    "max_period": _real(1, 1e9),
    "existing_text_padding_id": _whole(0, 1_000_000, required=False),
    "existing_text_end_padding_id": _whole(0, 1_000_000, required=False),
    # More would be pauses of lengths that nobody has told.
    "extra_heads_num_heads": _whole(0, 4, required=False),
    "extra_heads_dim": _whole(1, 1_024, required=False),
}
# Steps by which a stream of the model runs behind; moshi keeps as many frames for every slot.
DELAY_STEPS = Range(0, 1_000)
# Both are stepped as silence, the one at a session's start and the other at every flush.
SPEECH_TO_TEXT: Mapping[str, Range] = {
    "audio_delay_seconds": _real(0, 30, required=True),
    "audio_silence_prefix_seconds": _real(0, 30),
}
CODEC: Mapping[str, Range] = {
    # The range of what callers may send: any of it can be resampled to any.
    "sample_rate": _whole(8_000, 192_000),
    "frame_rate": _real(1, 100, required=True),
    # A session is one channel.
    "channels": _whole(1, 1),
}


def read_config(path: Path) -> Config:
    """A JSON object. Raises UnsuitableCheckpoint."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UnsuitableCheckpoint(f"{path} has more than {MAX_CONFIG_BYTES:,} bytes")
        # Python would read NaN and Infinity, which JSON does not have.
        config = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise UnsuitableCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UnsuitableCheckpoint(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise UnsuitableCheckpoint(f"{path} holds no JSON object")
    return cast(Config, config)


def check_config(config: Config, codec: Config | None) -> None:
    """Raise UnsuitableCheckpoint where a number is none, or beyond what the design can mean.

    `config` is config.json; `codec` is Mimi's own, None for the published Mimi.
    """
    _check_finite("config.json", config)
    _check_ranges(config, LANGUAGE_MODEL)
    stt_config = config.get("stt_config")
    if not isinstance(stt_config, dict):
        raise UnsuitableCheckpoint(f"config.json: stt_config is {_show(stt_config)}, no object")
    _check_ranges(cast(Config, stt_config), SPEECH_TO_TEXT, "stt_config.")
    _check_language_model(config)
    if codec is not None:
        _check_finite("the codec's config", codec)
        _check_ranges(codec, CODEC, "the codec's ")
        _check_codec(codec)


def _check_language_model(config: Config) -> None:
    dim, heads = config["dim"], config["num_heads"]
    if dim % heads or dim // heads % 2:
        raise UnsuitableCheckpoint(
            f"config.json: dim is {dim} and num_heads {heads}; each head needs the same even share"
        )
    for name in ("existing_text_padding_id", "existing_text_end_padding_id"):
        if config.get(name, 0) > config["text_card"]:
            raise UnsuitableCheckpoint(
                f"config.json: {name} is {config[name]}, but text_card {config['text_card']}"
            )
    delays: object = config.get("delays")
    if not isinstance(delays, list) or not all(map(DELAY_STEPS.holds, cast(list[object], delays))):
        raise UnsuitableCheckpoint(
            f"config.json: delays is {_show(config.get('delays'))}; it must be a list, "
            f"each {DELAY_STEPS}"
        )


def _check_codec(codec: Config) -> None:
    samples = codec["sample_rate"] / codec["frame_rate"]
    if not samples.is_integer():
        raise UnsuitableCheckpoint(
            f"the codec's frame would be {samples:g} samples long: sample_rate is "
            f"{codec['sample_rate']}, frame_rate {codec['frame_rate']}"
        )


def _check_ranges(config: Config, ranges: Mapping[str, Range], where: str = "") -> None:
    for name, allowed in ranges.items():
        if name not in config:
            if allowed.required:
                raise UnsuitableCheckpoint(f"config.json: {where}{name} is missing")
        elif not allowed.holds(config[name]):
            raise UnsuitableCheckpoint(
                f"config.json: {where}{name} is {_show(config[name])}; it must be {allowed}"
            )


def _check_finite(name: str, value: object) -> None:
    """Refuse what is written as a number and is none, at any depth: 1e999 is infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UnsuitableCheckpoint(f"{name} is {value}, not a finite number")
    if isinstance(value, dict):
        for key, inner in cast(dict[str, object], value).items():
            _check_finite(f"{name}: {key}", inner)
    elif isinstance(value, list):
        for inner in cast(list[object], value):
            _check_finite(name, inner)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
