"""The images and the disks of the containers on Modal."""

# modal's methods are typed in part.
# pyright: reportUnknownMemberType=false

from pathlib import Path, PurePosixPath

import modal

from stt_service.deploy import limits, weights
from stt_service.deploy.deployment import Deployment, make_compile_settings

ROOT = Path(__file__).resolve().parents[2]
PYTHON_VERSION = "3.11"
SOURCE_DIR = "/root"
WEIGHTS_DIR = "/weights"
COMPILED_DIR = "/compiled"

Volumes = dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]
weights_volume = modal.Volume.from_name("kyutai-stt-weights", create_if_missing=True)
weights_to_write: Volumes = {WEIGHTS_DIR: weights_volume}


def make_server_image(deployment: Deployment) -> modal.Image:
    """What the GPU containers run. Building it fills the volume of the weights."""
    image = _install("server").env({"HF_HUB_CACHE": WEIGHTS_DIR})
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


def find_pool_volumes(deployment: Deployment) -> Volumes:
    """The disks of a GPU container: the weights, and what torch.compile made if it is used."""
    volumes: Volumes = {WEIGHTS_DIR: weights_volume.with_mount_options(read_only=True)}
    if deployment.compiles:
        compiled = modal.Volume.from_name("kyutai-stt-compiled", create_if_missing=True)
        volumes[COMPILED_DIR] = compiled
    return volumes


def make_pool_environment(deployment: Deployment) -> dict[str, str | None]:
    """How the programs in a GPU container use its disks."""
    compiling = make_compile_settings(COMPILED_DIR) if deployment.compiles else {}
    return {"HF_HUB_OFFLINE": "1", **compiling}


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
