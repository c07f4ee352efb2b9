"""The images and the disks of the containers on Modal."""

# modal's methods are typed in part.
# pyright: reportUnknownMemberType=false

from pathlib import Path, PurePosixPath

import modal

from stt_service.deploy import limits, weights
from stt_service.deploy.deployment import Deployment

ROOT = Path(__file__).resolve().parents[2]
PYTHON_VERSION = "3.11"
SOURCE_DIR = "/root"
WEIGHTS_DIR = "/weights"
# moshi compiles its own modules at their first use unless this variable holds some text. Nothing of
# ours does: see "Plain torch calls" in docs/architecture.md.
NO_COMPILE = {"NO_TORCH_COMPILE": "1"}
# How the programs in a GPU container use its disks.
POOL_ENVIRONMENT: dict[str, str | None] = {"HF_HUB_OFFLINE": "1"}

Volumes = dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]
weights_volume = modal.Volume.from_name("kyutai-stt-weights", create_if_missing=True)
weights_to_write: Volumes = {WEIGHTS_DIR: weights_volume}
weights_to_read: Volumes = {WEIGHTS_DIR: weights_volume.with_mount_options(read_only=True)}


def make_server_image(deployment: Deployment) -> modal.Image:
    """What the GPU containers run. Building it fills the volume of the weights."""
    image = _install("server").env({"HF_HUB_CACHE": WEIGHTS_DIR, **NO_COMPILE})
    image = image.run_function(
        weights.fetch,
        args=(deployment.engine.checkpoint,),
        volumes=weights_to_write,
        cpu=limits.FETCH_CPU_CORES,
        memory=limits.FETCH_MEMORY_MIB,
        timeout=limits.JOB_TIMEOUT_S,
    )
    return _add_sources(image, deployment, "stt_service", "proto/stt")


def make_gateway_image(deployment: Deployment) -> modal.Image:
    """What the gateway's containers run: no model."""
    packages = ("stt_service", "proto/stt", "client", "gateway")
    return _add_sources(_install("gateway"), deployment, *packages)


def _install(extra: str) -> modal.Image:
    """A Debian image with the pinned packages of one extra."""
    return modal.Image.debian_slim(PYTHON_VERSION).uv_pip_install(
        requirements=[str(ROOT / "requirements" / f"{extra}.txt")]
    )


def _add_sources(image: modal.Image, deployment: Deployment, *packages: str) -> modal.Image:
    """The settings and our own packages: last, so that a change of them rebuilds nothing."""
    image = image.env({**deployment.container_environment})
    for package in packages:
        image = image.add_local_dir(
            ROOT / package,
            f"{SOURCE_DIR}/{Path(package).name}",
            ignore=["**/__pycache__", "**/*.pyc"],
        )
    return image
