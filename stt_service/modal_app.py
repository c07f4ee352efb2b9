"""The service on Modal: `uvx modal deploy stt_service/modal_app.py`.

A pool of GPU containers speaks gRPC, a small CPU app in front of it speaks WebSocket. The settings
are environment variables, see deploy/deployment.py. This file runs on a machine that has modal and
nothing else, and again in every container; all work is done by what it imports there.
"""

# modal's decorators are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modal

# Modal puts only this file's own folder on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stt_service.deploy import bench as benchmark
from stt_service.deploy import images, limits, weights
from stt_service.deploy.deployment import POOL_NAME, Deployment, read_credentials
from stt_service.process.environment import InvalidSetting

if TYPE_CHECKING:
    from stt_service.deploy.pool import PoolMember

GRPC_PORT = 50051

try:
    deployment = Deployment.from_environment(os.environ)
    # Of the containers, the gateway's alone has them.
    credentials = read_credentials(os.environ, required=modal.is_local())
except InvalidSetting as error:
    sys.exit(f"modal_app: {error}")

app = modal.App(deployment.app_name)
checkpoint = deployment.engine.checkpoint
volume = images.weights_volume
server_image = images.make_server_image(deployment)
gateway_image = images.make_gateway_image(deployment)


@app.function(
    image=server_image,
    volumes=images.weights_to_write,
    cpu=limits.FETCH_CPU_CORES,
    memory=limits.FETCH_MEMORY_MIB,
    timeout=limits.JOB_TIMEOUT_S,
)
def fetch_weights() -> None:
    """Fill the volume, for a container that found it empty."""
    weights.fetch(checkpoint)
    volume.commit()


@app.server(
    name=POOL_NAME,
    image=server_image,
    env=images.POOL_ENVIRONMENT,
    volumes=images.weights_to_read,
    gpu=deployment.gpu,
    cpu=limits.POOL_CPU_CORES,
    memory=limits.POOL_MEMORY_MIB,
    port=GRPC_PORT,
    h2_enabled=True,
    max_concurrency=deployment.engine.slots,
    target_concurrency=deployment.target_sessions,
    min_containers=0,
    max_containers=limits.MAX_CONTAINERS,
    scaledown_window=limits.SCALEDOWN_WINDOW_S,
    startup_timeout=limits.STARTUP_TIMEOUT_S,
    exit_grace_period=limits.EXIT_GRACE_PERIOD_S,
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
    cpu=limits.GATEWAY_CPU_CORES,
    memory=limits.GATEWAY_MEMORY_MIB,
    region=deployment.routing_region,
    routing_region=deployment.gateway_routing_region,
    min_containers=0,
    max_containers=limits.MAX_CONTAINERS,
    scaledown_window=limits.SCALEDOWN_WINDOW_S,
    startup_timeout=limits.GATEWAY_STARTUP_TIMEOUT_S,
    timeout=limits.MAX_SESSION_S,
)
@modal.concurrent(max_inputs=limits.SOCKETS_PER_GATEWAY, target_inputs=limits.TARGET_SOCKETS)
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
        from stt_service.process.logs import configure_logging

        configure_logging("json")
        return create_app(GatewayConfig(upstream=parse_upstream(self.pool_url)))


@app.function(
    image=server_image,
    env=images.POOL_ENVIRONMENT,
    volumes=images.weights_to_read,
    gpu=deployment.gpu,
    cpu=limits.POOL_CPU_CORES,
    memory=limits.POOL_MEMORY_MIB,
    timeout=limits.JOB_TIMEOUT_S,
)
def measure(batch_sizes: tuple[int, ...]) -> dict[str, Any]:
    """Time the model's steps on the GPU."""
    return benchmark.measure(deployment.engine, batch_sizes).as_dict()


@app.local_entrypoint()
def bench(batch_sizes: str = benchmark.DEFAULT_BATCH_SIZES) -> None:
    """`uvx modal run stt_service/modal_app.py::bench`: the figures of one GPU."""
    benchmark.measure_elsewhere(measure.remote, batch_sizes, deployment.gpu)
