"""The GPUs of Modal: what they are called and what they cost."""

# By the names of https://modal.com/docs/guide/gpu, those that the models and the pinned torch run
# on. A100 has 40 GB, or 80 at the same price; H100 may be an H200, and H100! may not. Prices are
# dollars an hour as https://modal.com/pricing listed them in 2026 (there by the second), for the
# GPU only, without CPU and memory.
PRICES_PER_HOUR_USD = {
    "T4": 0.59,
    "L4": 0.80,
    "A10": 1.10,
    "L40S": 1.95,
    "A100": 2.10,
    "A100-40GB": 2.10,
    "A100-80GB": 2.50,
    "RTX-PRO-6000": 3.03,
    "H100": 3.95,
    "H100!": 3.95,
    "H200": 4.54,
    "B200": 6.25,
}
GPUS = tuple(PRICES_PER_HOUR_USD)
# They want CUDA 13.1, and torch 2.9.1 on PyPI is built for CUDA 12.8. B200+ may be a B300.
GPUS_TOO_NEW = ("B200+", "B300")
# What Modal called it before, and what users were told.
_FORMER_NAMES = {"A10G": "A10"}


def find_modals_name(gpu: str) -> str:
    """What Modal calls a GPU, if there is one, that is written in any case or by a former name."""
    return _FORMER_NAMES.get(gpu.upper(), gpu.upper())
