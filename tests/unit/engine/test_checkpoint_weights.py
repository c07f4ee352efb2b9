"""Damaged weights are found before they are loaded, and sound ones are not."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.checkpoint_weights import check_weights
from stt_service.engine.errors import UnsuitableCheckpoint


def write(path: Path, dtype: str, bits: np.ndarray) -> Path:
    """A safetensors file with one tensor of these bits, after another that is fine."""
    header = {
        "__metadata__": {"format": "pt"},
        "fine": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "layers.0.weight": {
            "dtype": dtype,
            "shape": [len(bits)],
            "data_offsets": [8, 8 + bits.nbytes],
        },
    }
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + bytes(8) + bits.tobytes())
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "mimi.safetensors"])
def test_the_embedded_weights_are_fine(name: str) -> None:
    check_weights(DIGITS_CHECKPOINT / name)


@pytest.mark.parametrize(
    ("dtype", "kind", "bad"),
    [
        ("F32", "<u4", [0x7FC00000, 0x7F800000, 0xFF800000, 0x7F000000]),
        ("BF16", "<u2", [0x7FC0, 0x7F80, 0xFF80, 0x7F00]),
        ("F16", "<u2", [0x7E00, 0x7C00, 0xFC00]),
    ],
)
def test_one_broken_number_among_many_is_found(tmp_path, dtype, kind, bad) -> None:
    fine = np.zeros(300_000, dtype=kind)
    # One, in each of the formats.
    fine[::2] = {"F32": 0x3F800000, "BF16": 0x3F80, "F16": 0x3C00}[dtype]
    check_weights(write(tmp_path / "fine.safetensors", dtype, fine))
    for number, value in enumerate(bad):
        damaged = fine.copy()
        damaged[-1 - number] = value
        with pytest.raises(UnsuitableCheckpoint, match=r"damaged: layers\.0\.weight"):
            check_weights(write(tmp_path / "bad.safetensors", dtype, damaged))


def test_bytes_that_were_changed_at_random_are_found(tmp_path) -> None:
    path = tmp_path / "mimi.safetensors"
    data = bytearray((DIGITS_CHECKPOINT / path.name).read_bytes())
    dice = np.random.default_rng(3)
    for place in dice.integers(100_000, len(data), 3000):
        data[place] = dice.integers(256)
    path.write_bytes(data)
    with pytest.raises(UnsuitableCheckpoint, match="damaged"):
        check_weights(path)


def test_whole_numbers_are_nobodys_weights(tmp_path) -> None:
    path = tmp_path / "quantised.safetensors"
    save_file({"weight": np.full(10, -1, dtype=np.int8), "steps": np.full(3, 2**62)}, path)
    check_weights(path)


@pytest.mark.parametrize("size", [0, 4, 8, 100, 1000, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, size: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((DIGITS_CHECKPOINT / path.name).read_bytes()[:size])
    with pytest.raises(UnsuitableCheckpoint, match=r"model\.safetensors is no safetensors file"):
        check_weights(path)
