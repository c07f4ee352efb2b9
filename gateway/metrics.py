"""The gateway's Prometheus metrics, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_WAIT_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
_FIRST_TOKEN_BUCKETS_S = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120)


class GatewayMetrics:
    """One instance per application, so that two in one process do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.sessions_open = Gauge(
            "stt_gateway_sessions_open",
            "WebSocket sessions open now, those that wait for the service included.",
            registry=self.registry,
        )
        self.connections_open = Gauge(
            "stt_gateway_connections_open",
            "TCP connections open now, WebSockets and others; 0 behind another ASGI server.",
            registry=self.registry,
        )
        self.buffered_bytes = Gauge(
            "stt_gateway_buffered_bytes",
            "Bytes of audio held for the service, of all sessions.",
            registry=self.registry,
        )
        self.sessions = Counter(
            "stt_gateway_sessions_total",
            "WebSocket sessions that ended, by outcome and close code (none: the client left).",
            ("outcome", "close_code"),
            registry=self.registry,
        )
        self.refused = Counter(
            "stt_gateway_refused_total",
            "WebSocket handshakes refused with an HTTP status, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self.audio_bytes = Counter(
            "stt_gateway_audio_bytes_total",
            "Bytes of audio received from clients.",
            registry=self.registry,
        )
        self.messages = Counter(
            "stt_gateway_messages_total",
            "Messages sent to clients, by type.",
            ("type",),
            registry=self.registry,
        )
        self.first_token_seconds = Histogram(
            "stt_gateway_first_token_seconds",
            "From a session's first audio received to its first token sent.",
            buckets=_FIRST_TOKEN_BUCKETS_S,
            registry=self.registry,
        )
        self.admission_seconds = Histogram(
            "stt_gateway_admission_seconds",
            "From the WebSocket handshake to the service's `ready`, cold starts included.",
            buckets=_WAIT_BUCKETS_S,
            registry=self.registry,
        )
        self.replays = Counter(
            "stt_gateway_replays_total",
            "Sessions whose call of the service broke and was replayed.",
            registry=self.registry,
        )
        self.upstream_retries = Counter(
            "stt_gateway_upstream_retries_total",
            "Further attempts to reach the service on behalf of a waiting session.",
            registry=self.registry,
        )
