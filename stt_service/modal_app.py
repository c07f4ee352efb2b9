"""The service on Modal: `uvx modal deploy stt_service/modal_app.py`.

A pool of GPU containers speaks gRPC, a small CPU app in front of it speaks WebSocket. The settings
are environment variables, see stt_service/deploy/deployment.py. This file runs on a machine that
has modal and nothing else, and again in every container; all work is done by what it imports
there.
"""

# modal's decorators are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import os
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import modal

ROOT = Path(__file__).resolve().parent.parent
# Modal puts only this file's own folder on the path.
sys.path.insert(0, str(ROOT))

from stt_service.deploy import bench as benchmark  # noqa: E402
from stt_service.deploy import weights  # noqa: E402
from stt_service.deploy.deployment import (  # noqa: E402
    POOL_NAME,
    Deployment,
    make_compile_settings,
    read_credentials,
)
from stt_service.process.environment import InvalidSetting  # noqa: E402

if TYPE_CHECKING:
    from stt_service.deploy.pool import PoolMember

PYTHON_VERSION = "3.11"
SOURCE_DIR = "/root"
WEIGHTS_DIR = "/weights"
COMPILED_DIR = "/compiled"
GRPC_PORT = 50051

MINUTE_S = 60
MAX_CONTAINERS = 10
SCALEDOWN_WINDOW_S = 60
# The 2.6B model's 6 GB, fetched at a start that finds the volume empty, and the warm-up.
STARTUP_TIMEOUT_S = 20 * MINUTE_S
GATEWAY_STARTUP_TIMEOUT_S = 2 * MINUTE_S
JOB_TIMEOUT_S = 60 * MINUTE_S
# A container that has to go gets no new sessions, but those in it may go on for so long, the most
# that Modal takes. SIGTERM, and PoolMember.drain, come after it.
EXIT_GRACE_PERIOD_S = 60 * MINUTE_S
# One WebSocket is one call of the gateway's function, which Modal ends after this time.
LONGEST_SESSION_S = 4 * 60 * MINUTE_S
SOCKETS_PER_GATEWAY = 100
# From here on another gateway starts, so that the one who comes next need not wait for it.
TARGET_SOCKETS = 75
# Reserved, so that no neighbour makes a step late; one core is the model thread's.
POOL_CPU_CORES = 2.0
POOL_MEMORY_MIB = 8 * 1024
# Measured on two cores: a hundred live sockets take 92 MB and a fifth of a core, a hundred callers
# who wait for 30 s of a cold start 442 MB, as their audio is kept.
GATEWAY_CPU_CORES = 1.0
GATEWAY_MEMORY_MIB = 1024
# Imports torch, which takes 515 MB, to see that it is a checkpoint that can be served.
FETCH_CPU_CORES = 1.0
FETCH_MEMORY_MIB = 2 * 1024

try:
    deployment = Deployment.from_environment(os.environ)
    # Of the containers, the gateway's alone has them.
    credentials = read_credentials(os.environ, required=modal.is_local())
except InvalidSetting as error:
    sys.exit(f"modal_app: {error}")

app = modal.App(deployment.app_name)
checkpoint = deployment.engine.checkpoint

Volumes = dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]
volume = modal.Volume.from_name("kyutai-stt-weights", create_if_missing=True)
weights_to_write: Volumes = {WEIGHTS_DIR: volume}
weights_to_read: Volumes = {WEIGHTS_DIR: volume.with_mount_options(read_only=True)}
compiled = modal.Volume.from_name("kyutai-stt-compiled", create_if_missing=True)
pool_volumes: Volumes = {
    **weights_to_read,
    **({COMPILED_DIR: compiled} if deployment.compiles else {}),
}
pool_environment: dict[str, str | None] = {
    "HF_HUB_OFFLINE": "1",
    **(make_compile_settings(COMPILED_DIR) if deployment.compiles else {}),
}


def make_image(extra: str) -> modal.Image:
    """A Debian image with the pinned packages of one extra."""
    return modal.Image.debian_slim(PYTHON_VERSION).uv_pip_install(
        requirements=[str(ROOT / "requirements" / f"{extra}.txt")]
    )


def add_sources(image: modal.Image, *packages: str) -> modal.Image:
    """The settings and our own packages: last, so that a change of them rebuilds nothing."""
    image = image.env({**deployment.container_environment})
    for package in packages:
        image = image.add_local_dir(
            ROOT / package,
            f"{SOURCE_DIR}/{Path(package).name}",
            ignore=["**/__pycache__", "**/*.pyc"],
        )
    return image


server_image = add_sources(
    make_image("server")
    .env({"HF_HUB_CACHE": WEIGHTS_DIR})
    .run_function(
        weights.fetch,
        args=(checkpoint,),
        volumes=weights_to_write,
        cpu=FETCH_CPU_CORES,
        memory=FETCH_MEMORY_MIB,
        timeout=JOB_TIMEOUT_S,
    ),
    "stt_service",
    "proto/stt",
)
gateway_image = add_sources(make_image("gateway"), "stt_service", "proto/stt", "client", "gateway")


@app.function(
    image=server_image,
    volumes=weights_to_write,
    cpu=FETCH_CPU_CORES,
    memory=FETCH_MEMORY_MIB,
    timeout=JOB_TIMEOUT_S,
)
def fetch_weights() -> None:
    """Fill the volume, for a container that found it empty."""
    weights.fetch(checkpoint)
    volume.commit()


@app.server(
    name=POOL_NAME,
    image=server_image,
    env=pool_environment,
    volumes=pool_volumes,
    gpu=deployment.gpu,
    cpu=POOL_CPU_CORES,
    memory=POOL_MEMORY_MIB,
    port=GRPC_PORT,
    h2_enabled=True,
    max_concurrency=deployment.engine.slots,
    target_concurrency=deployment.target_sessions,
    min_containers=0,
    max_containers=MAX_CONTAINERS,
    scaledown_window=SCALEDOWN_WINDOW_S,
    startup_timeout=STARTUP_TIMEOUT_S,
    exit_grace_period=EXIT_GRACE_PERIOD_S,
    routing_region=deployment.routing_region,
    enable_memory_snapshot=deployment.snapshot,
    experimental_options={"enable_gpu_snapshot": True} if deployment.snapshot else {},
)
class SpeechToText:
    """The GPU pool: the gRPC server, in the container's own process."""

    address = f"0.0.0.0:{GRPC_PORT}"
    member: "PoolMember"

    @modal.enter(snap=deployment.snapshot)
    async def load(self) -> None:
        """Have the weights, load them, warm up: what a memory snapshot holds."""
        from stt_service.deploy.pool import PoolMember

        await weights.ensure_stored(checkpoint, fetch_weights.remote.aio, volume.reload.aio)
        self.member = PoolMember.serving(deployment.engine, self.address)
        await self.member.load()

    @modal.enter(snap=False)
    async def listen(self) -> None:
        """Serve; Modal sends sessions here when this returns."""
        await self.member.listen()

    @modal.exit()
    async def drain(self) -> None:
        """Let open sessions finish."""
        await self.member.drain()


@app.cls(
    image=gateway_image,
    secrets=[modal.Secret.from_dict({**credentials})],
    cpu=GATEWAY_CPU_CORES,
    memory=GATEWAY_MEMORY_MIB,
    region=deployment.routing_region,
    routing_region=deployment.gateway_routing_region,
    min_containers=0,
    max_containers=MAX_CONTAINERS,
    scaledown_window=SCALEDOWN_WINDOW_S,
    startup_timeout=GATEWAY_STARTUP_TIMEOUT_S,
    timeout=LONGEST_SESSION_S,
)
@modal.concurrent(max_inputs=SOCKETS_PER_GATEWAY, target_inputs=TARGET_SOCKETS)
class Gateway:
    """The WebSocket at the documented address, in front of the pool."""

    pool_url: str

    @modal.enter()
    async def find_pool(self) -> None:
        """Ask Modal where the pool is."""
        pool = modal.Server.from_name(deployment.app_name, POOL_NAME)
        url = await pool.get_url.aio()
        assert url is not None, "a deployed server has an address"
        self.pool_url = url

    @modal.asgi_app(label=deployment.gateway_label, requires_proxy_auth=True)
    def serve(self) -> object:
        """The gateway's ASGI application."""
        from gateway.config import GatewayConfig, parse_upstream
        from gateway.server import create_app

        return create_app(GatewayConfig(upstream=parse_upstream(self.pool_url)))


@app.function(
    image=server_image,
    env=pool_environment,
    volumes=pool_volumes,
    gpu=deployment.gpu,
    cpu=POOL_CPU_CORES,
    memory=POOL_MEMORY_MIB,
    timeout=JOB_TIMEOUT_S,
)
def measure(batch_sizes: tuple[int, ...]) -> dict[str, Any]:
    """Time the model's steps on the GPU."""
    return benchmark.measure(deployment.engine, batch_sizes).as_dict()


@app.local_entrypoint()
def bench(batch_sizes: str = benchmark.DEFAULT_BATCH_SIZES) -> None:
    """`uvx modal run stt_service/modal_app.py::bench`: the figures of one GPU."""
    try:
        sizes = benchmark.parse_batch_sizes(batch_sizes)
    except InvalidSetting as error:
        sys.exit(f"bench: {error}")
    benchmark.print_report(measure.remote(sizes), gpu=deployment.gpu)
