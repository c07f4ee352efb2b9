"""A checkpoint's weights, looked at before they are loaded. Pure: no torch.

Damaged weights load like sound ones. A language model with numbers that are none is found when it
is warmed up, but a codec turns any number into codes that look right, and the service would answer
with empty transcripts. The look costs a tenth of a second for each gigabyte, and the pages that it
reads are read again by the loading.
"""

import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from stt_service.engine.errors import UnsuitableCheckpoint

# No weight of a trained model is near it (the codec's sums over codebooks are in the thousands),
# and of the float32 numbers with random bits nearly four in ten are beyond it.
MAX_MAGNITUDE = 1e8
# https://huggingface.co/docs/safetensors/index#format, and the bound of the reference reader.
HEADER_LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
# Two of these fit into a core's own cache.
BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Format:
    """A type of floats: as whole numbers without the sign, they are in the order of magnitude."""

    bits: npt.DTypeLike
    magnitude_mask: int
    largest: int
    """The bits of MAX_MAGNITUDE, or of the largest finite number if that is less."""


_FLOAT32_BITS = int(np.float32(MAX_MAGNITUDE).view(np.uint32))
FORMATS = {
    "F32": Format("<u4", 0x7FFF_FFFF, _FLOAT32_BITS),
    # The upper half of a float32.
    "BF16": Format("<u2", 0x7FFF, _FLOAT32_BITS >> 16),
    "F16": Format("<u2", 0x7FFF, int(np.finfo(np.float16).max.view(np.uint16))),
}


def check_weights(path: Path) -> None:
    """Look at every float of a safetensors file; files of another kind are left alone.

    Raises UnsuitableCheckpoint, which names the tensor, if one is not finite or beyond
    MAX_MAGNITUDE.
    """
    if path.suffix != ".safetensors":
        return
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start, tensors = _read_header(data)
            for name, tensor in tensors.items():
                format = FORMATS.get(tensor["dtype"])
                begin, end = tensor["data_offsets"]
                if format is not None and _is_broken(data, start + begin, start + end, format):
                    raise UnsuitableCheckpoint(
                        f"{path.name} is damaged: {name} has weights that are not finite or beyond "
                        f"{MAX_MAGNITUDE:g}"
                    )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsuitableCheckpoint(f"{path.name} is no safetensors file: {error}") from error


def _read_header(data: mmap.mmap) -> tuple[int, dict[str, Any]]:
    """Where the tensors' bytes start, and the tensors by their names."""
    length = int.from_bytes(data[:HEADER_LENGTH_BYTES], "little")
    start = HEADER_LENGTH_BYTES + length
    if length > MAX_HEADER_BYTES or start > len(data):
        raise ValueError("its header is longer than the file")
    header = cast(dict[str, Any], json.loads(data[HEADER_LENGTH_BYTES:start]))
    header.pop("__metadata__", None)
    if any(start + tensor["data_offsets"][1] > len(data) for tensor in header.values()):
        raise ValueError("the file is cut off")
    return start, header


def _is_broken(data: mmap.mmap, begin: int, end: int, format: Format) -> bool:
    count = (end - begin) // np.dtype(format.bits).itemsize
    bits = np.frombuffer(data, dtype=format.bits, count=count, offset=begin)
    try:
        return any(
            (bits[at : at + BLOCK] & format.magnitude_mask).max() > format.largest
            for at in range(0, count, BLOCK)
        )
    finally:
        # A map that something still points into cannot be closed.
        del bits
