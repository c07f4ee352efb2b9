"""A config is refused in a sentence that names what is wrong in it."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.checkpoint_config import (
    CODEC,
    LANGUAGE_MODEL,
    SPEECH_TO_TEXT,
    check_config,
    read_config,
)
from stt_service.engine.errors import UnsuitableCheckpoint

CONFIG = json.loads((DIGITS_CHECKPOINT / "config.json").read_text())
CODEC_CONFIG = json.loads((DIGITS_CHECKPOINT / "mimi_config.json").read_text())
# The numbers of Kyutai's two, as their repositories have them.
KYUTAI_1B = {
    **CONFIG,
    "card": 2048,
    "n_q": 32,
    "delays": [0] * 33,
    "dim": 2048,
    "text_card": 8000,
    "num_heads": 16,
    "num_layers": 16,
    "context": 750,
    "max_period": 100000.0,
    "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
}
KYUTAI_2_6B = {
    **KYUTAI_1B,
    "text_card": 4000,
    "num_heads": 32,
    "num_layers": 48,
    "context": 375,
    "extra_heads_num_heads": 0,
    "stt_config": {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0},
}


def change(config: dict, path: str, value: object) -> dict:
    changed = copy.deepcopy(config)
    *above, name = path.split(".")
    place = changed
    for key in above:
        place = place[key]
    place[name] = value
    return changed


@pytest.mark.parametrize("config", [CONFIG, KYUTAI_1B, KYUTAI_2_6B])
def test_configs_of_models_that_exist_are_fine(config) -> None:
    check_config(config, CODEC_CONFIG)
    check_config(config, None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stt_config.audio_delay_seconds", -1),
        ("stt_config.audio_delay_seconds", 1e9),
        ("stt_config.audio_delay_seconds", float("nan")),
        ("stt_config.audio_delay_seconds", float("inf")),
        ("stt_config.audio_delay_seconds", "0.5"),
        ("stt_config.audio_delay_seconds", None),
        ("stt_config.audio_delay_seconds", True),
        ("stt_config.audio_silence_prefix_seconds", 1e6),
        ("stt_config.audio_silence_prefix_seconds", -0.1),
        ("stt_config", [0.5]),
        ("context", 0),
        ("context", 10**12),
        ("context", 60.0),
        ("num_heads", 0),
        ("num_heads", 3),
        ("n_q", -1),
        ("text_card", 10**9),
        ("existing_text_padding_id", -3),
        ("existing_text_padding_id", 31),
        ("existing_text_end_padding_id", 31),
        ("delays", [0, -1]),
        ("delays", [10**9]),
        ("delays", 0),
        ("extra_heads_num_heads", 5),
        ("lm_gen_config.temp", float("-inf")),
        ("some_number", [[float("nan")]]),
    ],
)
def test_a_number_beyond_what_the_design_can_mean_is_named(path, value) -> None:
    name = path.rpartition(".")[2]
    with pytest.raises(UnsuitableCheckpoint, match=rf"config\.json: (.*\b)?{name}\b"):
        check_config(change(CONFIG, path, value), CODEC_CONFIG)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frame_rate", 0),
        ("frame_rate", 1e9),
        ("frame_rate", 12.7),
        ("frame_rate", None),
        ("sample_rate", 0),
        ("sample_rate", 10**9),
        ("channels", 2),
    ],
)
def test_so_is_one_of_the_codecs(name, value) -> None:
    with pytest.raises(UnsuitableCheckpoint, match=name):
        check_config(CONFIG, change(CODEC_CONFIG, name, value))


@pytest.mark.parametrize("name", ["dim", "context", "text_card", "delays", "stt_config"])
def test_so_is_one_that_is_missing(name) -> None:
    without = {key: value for key, value in CONFIG.items() if key != name}
    with pytest.raises(UnsuitableCheckpoint, match=name):
        check_config(without, CODEC_CONFIG)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
places = st.sampled_from(
    [*LANGUAGE_MODEL, "delays", "stt_config", *(f"stt_config.{name}" for name in SPEECH_TO_TEXT)]
)


@given(places, json_values, st.sampled_from(sorted(CODEC)), json_values)
def test_whatever_a_config_holds_it_is_fine_or_refused_in_a_line(
    place, value, codec, other
) -> None:
    try:
        check_config(change(CONFIG, place, value), change(CODEC_CONFIG, codec, other))
    except UnsuitableCheckpoint as error:
        assert len(str(error)) < 400
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"stt_config": {"audio_delay_seconds": NaN}}', "NaN is no number"),
        ('{"a": -Infinity}', "Infinity is no number"),
        ("[" * 100_000, "not JSON"),
        ("\ud800", "not JSON"),
        ('{"a": "' + "x" * 1_000_000 + '"}', "more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_config_is_refused_by_its_name(tmp_path, text, words) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UnsuitableCheckpoint, match=words) as refused:
        read_config(path)
    assert "config.json" in str(refused.value)


def test_a_config_that_cannot_be_read_is_refused(tmp_path) -> None:
    with pytest.raises(UnsuitableCheckpoint, match="cannot be read"):
        read_config(tmp_path)
