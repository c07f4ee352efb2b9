"""The GPUs of Modal: what they are called, what they cost, and what fits into them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """What is known of a GPU. The price is the GPU's only, without CPU and memory."""

    price_per_hour_usd: float
    free_gib: int
    """Memory that CUDA leaves to a program, rounded down."""


# By the names and with the memory of https://modal.com/docs/guide/gpu, those that the models and
# the pinned torch run on. A100 has 40 GB, or 80 at the same price; H100 may be an H200, and H100!
# may not. Prices as https://modal.com/pricing listed them in 2026 (there by the second).
GPUS = {
    "T4": Gpu(0.59, 14),
    "L4": Gpu(0.80, 22),
    "A10": Gpu(1.10, 22),
    "L40S": Gpu(1.95, 44),
    "A100": Gpu(2.10, 39),
    "A100-40GB": Gpu(2.10, 39),
    "A100-80GB": Gpu(2.50, 79),
    "RTX-PRO-6000": Gpu(3.03, 94),
    "H100": Gpu(3.95, 79),
    "H100!": Gpu(3.95, 79),
    "H200": Gpu(4.54, 139),
    "B200": Gpu(6.25, 178),
}
# They want CUDA 13.1, and torch 2.9.1 on PyPI is built for CUDA 12.8. B200+ may be a B300.
GPUS_TOO_NEW = ("B200+", "B300")
# What Modal called it before, and what users were told.
_FORMER_NAMES = {"A10G": "A10"}


def find_modals_name(gpu: str) -> str:
    """What Modal calls a GPU, if there is one, that is written in any case or by a former name."""
    return _FORMER_NAMES.get(gpu.upper(), gpu.upper())
