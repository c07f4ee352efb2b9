"""The server's life: bind, warm up, serve, drain, stop."""

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt.nvidia_riva import riva_asr_pb2, riva_asr_pb2_grpc
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.authorization import Authorization
from stt_service.config import EngineConfig, ServerConfig
from stt_service.engine.engine import Engine, State
from stt_service.engine.errors import EngineDied
from stt_service.engine.model import BatchedModel
from stt_service.guard import CallGuard
from stt_service.health import WARMING_UP, HealthServicer
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
from stt_service.reflection import reflect
from stt_service.riva import RivaServicer
from stt_service.servicer import SpeechToTextServicer
from stt_service.sessions import Sessions
from stt_service.tls import read_credentials
from stt_service.transport import make_channel_arguments, make_grpc_server
from stt_service.writing import Writer

SERVICE_NAME = stt_pb2.DESCRIPTOR.services_by_name["SpeechToTextService"].full_name
RIVA_NAME = riva_asr_pb2.DESCRIPTOR.services_by_name["RivaSpeechRecognition"].full_name
# Health is answered for the whole server and for each service.
HEALTH_NAMES = ("", SERVICE_NAME, RIVA_NAME)
# Long enough for the sessions to be told why, when the engine is dead or the grace is over.
LAST_WORDS_S = 2.0
# When the grace is over, a caller that takes nothing for so long gets no more words.
LAST_WRITE_S = 5.0
# A whole recording at the speed of a slow line; other first messages are small.
FIRST_MESSAGE_TIMEOUTS_S = {f"/{SERVICE_NAME}/Transcribe": 300.0, f"/{RIVA_NAME}/Recognize": 300.0}

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
        self._writer = Writer()
        self._authorization = Authorization(config.access)
        self._health = HealthServicer(HEALTH_NAMES, self._writer)
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
        guard = CallGuard(self._authorization, self._writer, FIRST_MESSAGE_TIMEOUTS_S)
        server = make_grpc_server(
            [guard],
            make_channel_arguments(self._config.max_message_bytes, self._engine_config.slots),
        )
        self._grpc = server
        self._add_servicers(server)
        self._bind(server)
        if self.engine.state is State.SERVING:
            self._health.set(Health.SERVING)
        else:
            self._health.set(Health.NOT_SERVING, WARMING_UP)
        await server.start()
        if self._config.metrics_address is not None:
            listening = listen(*parse_listening_address(self._config.metrics_address))
            self._metrics_server = MetricsServer(
                self._metrics.registry, listening, self._authorization.may_see_metrics
            )

    async def warm_up(self) -> None:
        """Load the model; sessions are welcome when this returns. Raises what loading raised."""
        await self.engine.start()
        self._metrics.model.info(
            {"name": self._engine_config.model, "device": self._engine_config.device}
        )
        self._tell_of_missing_pauses()
        self._health.set(Health.SERVING)

    def reload_keys(self) -> None:
        """Read the file of keys again, if there is one; the log says how it went."""
        self._authorization.reload()

    async def wait_for_death(self) -> EngineDied:
        """Return why the engine died, when it does and every session was told."""
        error = await self.engine.wait_for_death()
        log.error("engine died", reason=error.reason, exc_info=error)
        self._health.set(Health.NOT_SERVING)
        return error

    async def drain(self) -> None:
        """Admit nobody new, let everyone in finish, then stop answering."""
        log.info("draining", grace_s=self._config.drain_grace_s)
        self._health.set(Health.NOT_SERVING)
        loop = asyncio.get_running_loop()
        hurrying = loop.call_later(self._config.drain_grace_s, self._writer.hurry, LAST_WRITE_S)
        try:
            await self.engine.drain(self._config.drain_grace_s)
        finally:
            hurrying.cancel()
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

    def _add_servicers(self, server: grpc.aio.Server) -> None:
        sessions = Sessions(
            self.engine, self._metrics, self._writer, self._config.max_message_bytes
        )
        names = {
            "model_name": self._engine_config.model,
            "description": self._engine_config.description,
        }
        ours = SpeechToTextServicer(sessions, **names)
        stt_pb2_grpc.add_SpeechToTextServiceServicer_to_server(ours, server)
        nvidias = RivaServicer(sessions, **names)
        riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server(nvidias, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)  # pyright: ignore
        reflect(server, (stt_pb2.DESCRIPTOR, riva_asr_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR))

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
            log.info("this model predicts no pauses: vad_end comes later, from its text", **names)
        else:
            log.warning(
                "no heads in this checkpoint predict pauses: vad_end comes later, from its text",
                **names,
            )

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
