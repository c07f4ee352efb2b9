"""What an operator looks at, for Prometheus. Names use the project's own words."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from stt_service.engine.engine import Engine, State
from stt_service.engine.events import Event, Final, Flushed, Pause, Step, Token, Utterance, Word
from stt_service.engine.model_thread import StepReport

STEP_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5, 1.0)
LAG_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 30.0)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.sessions_open = Gauge("stt_sessions_open", "Sessions open now", registry=registry)
        self.sessions = Counter(
            "stt_sessions", "Sessions ended, by outcome", ["outcome"], registry=registry
        )
        self.refusals = Counter(
            "stt_sessions_refused",
            "Sessions not admitted, by reason",
            ["reason"],
            registry=registry,
        )
        self.slots_total = Gauge("stt_slots_total", "Slots of the model", registry=registry)
        self.slots_free = Gauge("stt_slots_free", "Slots not leased", registry=registry)
        self.sessions_waiting = Gauge(
            "stt_sessions_waiting", "Sessions that wait for a slot", registry=registry
        )
        self.engine_alive = Gauge(
            "stt_engine_alive", "1 while the model thread serves", registry=registry
        )
        self.step_seconds = Histogram(
            "stt_step_seconds", "Duration of a step", buckets=STEP_BUCKETS_S, registry=registry
        )
        self.behind_seconds = Gauge(
            "stt_behind_seconds", "How far the engine is behind real time", registry=registry
        )
        self.broken_rows = Counter(
            "stt_broken_rows",
            "Outputs of the model that were not finite or out of range",
            registry=registry,
        )
        self.frames = Counter("stt_frames", "Frames stepped, tails included", registry=registry)
        self.lag_seconds = Histogram(
            "stt_lag_seconds",
            "Audio received and not yet stepped, at each event",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "stt_first_token_seconds", "From admission to the first token", registry=registry
        )
        self.audio_bytes = Counter("stt_audio_bytes", "Bytes of audio received", registry=registry)
        self.flushes = Counter("stt_flushes", "Flushes answered", registry=registry)
        self.tokens = Counter("stt_tokens", "Tokens sent", registry=registry)
        self.words = Counter("stt_words", "Words heard", registry=registry)
        self.pauses = Counter("stt_pauses", "Pauses recognised", registry=registry)
        self.queue_depth = Gauge(
            "stt_queue_depth", "Frames and marks that wait for the model thread", registry=registry
        )
        self.model = Info("stt_model", "What is served", registry=registry)

    def watch(self, engine: Engine) -> None:
        """Read the engine's own state whenever the metrics are asked for."""
        self.slots_total.set_function(lambda: engine.slots_total)
        self.slots_free.set_function(lambda: engine.slots_free)
        self.sessions_waiting.set_function(lambda: engine.sessions_waiting)
        self.behind_seconds.set_function(lambda: engine.behind_s)
        self.queue_depth.set_function(lambda: engine.queue_depth)
        self.engine_alive.set_function(lambda: engine.state in (State.SERVING, State.DRAINING))

    def record_step(self, report: StepReport) -> None:
        """Called by the model thread after each step."""
        self.step_seconds.observe(report.duration_s)
        self.frames.inc(int(report.plan.active.sum()))
        self.broken_rows.inc(int(report.broken.sum()))


class SessionMeter:
    """Counts the events of one session, which was opened just now."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._opened_at = time.monotonic()
        self._spoken = False

    def record(self, event: Event, lag_s: float) -> None:
        metrics = self._metrics
        metrics.lag_seconds.observe(lag_s)
        match event:
            case Token():
                metrics.tokens.inc()
                if not self._spoken:
                    self._spoken = True
                    metrics.first_token_seconds.observe(time.monotonic() - self._opened_at)
            case Word():
                metrics.words.inc()
            case Pause():
                metrics.pauses.inc()
            case Flushed():
                metrics.flushes.inc()
            case Final() | Step() | Utterance():
                pass
