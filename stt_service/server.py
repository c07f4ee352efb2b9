"""The server's life: bind, warm up, serve, drain, stop."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.config import EngineConfig, ServerConfig
from stt_service.engine.engine import Engine, State
from stt_service.engine.model import BatchedModel
from stt_service.metrics import Metrics
from stt_service.metrics_server import MetricsServer
from stt_service.process.listening import (
    CannotListen,
    address_to_connect_to,
    find_free,
    listen,
    parse_listening_address,
)
from stt_service.process.logs import get_logger
from stt_service.servicer import SpeechToTextServicer
from stt_service.tls import read_credentials

SERVICE_NAME = stt_pb2.DESCRIPTOR.services_by_name["SpeechToTextService"].full_name
# Health is answered for the whole server and for the service.
HEALTH_NAMES = ("", SERVICE_NAME)
# A connection that an edge or a NAT dropped silently is noticed within 40 s; one on a network that
# forwards nothing for 15 s goes on.
KEEPALIVE_TIME_MS = 20_000
KEEPALIVE_TIMEOUT_MS = 20_000
# Clients may ping as often, also between calls, without being cut off for it.
MIN_PING_INTERVAL_MS = 5_000
# A message up to this many times the limit is read, so that our own status can answer it.
HARD_LIMIT_FACTOR = 2
# Long enough for the sessions to be told why, when the engine is dead or the grace is over.
LAST_WORDS_S = 2.0

log = get_logger(__name__)

Health = health_pb2.HealthCheckResponse


class Server:
    """Serves one engine over gRPC.

    `start` and `warm_up` come in either order. The port answers from `start` on, with
    health NOT_SERVING and UNAVAILABLE for sessions until the model is warm. The model
    is the engine config's, unless `load_model` makes another.
    """

    def __init__(
        self,
        engine_config: EngineConfig,
        config: ServerConfig,
        load_model: Callable[[], BatchedModel] | None = None,
    ) -> None:
        self._engine_config = engine_config
        self._config = config
        self._metrics = Metrics()
        self.engine = Engine(
            load_model or self._load_model, self._metrics.record_step, engine_config.limits
        )
        self._metrics.watch(self.engine)
        # grpc_health binds `aio` at run time, so a type checker does not see it.
        self._health: Any = health.aio.HealthServicer()  # pyright: ignore
        # Made when it listens: its threads and sockets would not outlive a memory snapshot.
        self._grpc: grpc.aio.Server | None = None
        self._metrics_server: MetricsServer | None = None
        self.port = 0
        self.address = ""
        """HOST:PORT to connect to on this machine, after `start`."""

    @property
    def metrics_address(self) -> str | None:
        """Where Prometheus metrics are served, if they are."""
        return self._metrics_server.address if self._metrics_server else None

    async def start(self) -> None:
        """Bind and answer. Raises OSError if an address cannot be listened on; then stop it."""
        server = grpc.aio.server(options=make_channel_arguments(self._config.max_message_bytes))
        self._grpc = server
        servicer = SpeechToTextServicer(
            self.engine,
            self._metrics,
            model_name=self._engine_config.model,
            description=self._engine_config.description,
            max_message_bytes=self._config.max_message_bytes,
        )
        stt_pb2_grpc.add_SpeechToTextServiceServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)  # pyright: ignore
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        self._bind(server)
        is_warm = self.engine.state is State.SERVING
        await self._set_health(Health.SERVING if is_warm else Health.NOT_SERVING)
        await server.start()
        if self._config.metrics_address is not None:
            listening = listen(*parse_listening_address(self._config.metrics_address))
            self._metrics_server = MetricsServer(self._metrics.registry, listening)

    async def warm_up(self) -> None:
        """Load the model; sessions are welcome when this returns. Raises what loading raised."""
        await self.engine.start()
        self._metrics.model.info(
            {"name": self._engine_config.model, "device": self._engine_config.device}
        )
        self._tell_of_missing_pauses()
        await self._set_health(Health.SERVING)

    async def wait_for_death(self) -> Exception:
        """Return why the engine died, when it does and every session was told."""
        error = await self.engine.wait_for_death()
        log.error("engine died", reason=str(error), exc_info=error)
        await self._set_health(Health.NOT_SERVING)
        return error

    async def drain(self) -> None:
        """Admit nobody new, let everyone in finish, then stop answering."""
        log.info("draining", grace_s=self._config.drain_grace_s)
        await self._set_health(Health.NOT_SERVING)
        await self.engine.drain(self._config.drain_grace_s)
        await self.stop()

    async def stop(self) -> None:
        """Stop now; calls in progress get a moment to be told why."""
        stopping = asyncio.create_task(self._grpc.stop(LAST_WORDS_S)) if self._grpc else None
        await self.engine.stop()
        if stopping is not None:
            await stopping
        if self._metrics_server is not None:
            self._metrics_server.stop()
            self._metrics_server = None

    def _load_model(self) -> BatchedModel:
        # Imports torch, which takes seconds: in the model thread, after the port is bound.
        from stt_service.engine.step.moshi_model import MoshiModel

        config = self._engine_config
        return MoshiModel(
            config.source, config.slots, config.device, config.cpu_threads, config.weights
        )

    def _tell_of_missing_pauses(self) -> None:
        if self.engine.info.has_semantic_vad:
            return
        names = {"model": self._engine_config.model, "checkpoint": self._engine_config.checkpoint}
        if self._engine_config.is_known_to_hear_no_pauses:
            log.info("this model hears no pauses, so its sessions get no vad_end", **names)
        else:
            log.warning("this checkpoint has no heads that hear pauses: no vad_end", **names)

    def _bind(self, server: grpc.aio.Server) -> None:
        """Have gRPC listen at every address that is meant. Raises CannotListen."""
        host, port = parse_listening_address(self._config.grpc_address)
        tls = self._config.tls
        credentials = read_credentials(tls) if tls else None
        # gRPC keeps the reason for a failure to itself, and listens at one of two addresses
        # where the other is taken.
        addresses = find_free(host, port)
        for address in addresses:
            try:
                if credentials is None:
                    self.port = server.add_insecure_port(address)
                else:
                    self.port = server.add_secure_port(address, credentials)
            except RuntimeError as error:
                hint = " with this TLS certificate and key" if credentials else "; try again"
                raise CannotListen(host, port, f"gRPC cannot bind it{hint}") from error
        self.address = address_to_connect_to(addresses)

    async def _set_health(self, status: Health.ServingStatus.ValueType) -> None:
        for name in HEALTH_NAMES:
            await self._health.set(name, status)


def make_channel_arguments(max_message_bytes: int) -> list[tuple[str, int]]:
    """gRPC's settings of HTTP/2, for the server."""
    return [
        ("grpc.max_receive_message_length", HARD_LIMIT_FACTOR * max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        # Two servers on one port would share its calls silently.
        ("grpc.so_reuseport", 0),
    ]
