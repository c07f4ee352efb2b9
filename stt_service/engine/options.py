"""What a caller may ask of a session."""

from dataclasses import dataclass, field

from stt_service.engine.errors import InvalidOptions
from stt_service.engine.model import ModelInfo
from stt_service.engine.pauses import VadOptions

DEFAULT_IDLE_TIMEOUT_S = 10.0
MAX_IDLE_TIMEOUT_S = 600.0
MAX_WAIT_FOR_SLOT_S = 600.0
# Leaves time for network jitter even if the model has no delay.
MIN_STALL_TIMEOUT_S = 0.25


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What the caller wants. `sample_rate_hertz` 0 is the model's rate, `stall_timeout_s` None its
    delay. Where no slot is free, the session waits for `wait_for_slot_s`, which may be 0.
    InvalidOptions where a number is out of range."""

    encoding: str = "pcm_f32le"
    sample_rate_hertz: int = 0
    vad: VadOptions = field(default_factory=VadOptions)
    wants_steps: bool = False
    wants_utterances: bool = False
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S
    stall_timeout_s: float | None = None
    wait_for_slot_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.idle_timeout_s <= MAX_IDLE_TIMEOUT_S:
            raise InvalidOptions(
                "idle_timeout",
                f"idle_timeout is {self.idle_timeout_s:g} s; "
                f"it must be above 0 and at most {MAX_IDLE_TIMEOUT_S:g} s",
            )
        if self.stall_timeout_s is not None and self.stall_timeout_s <= 0:
            raise InvalidOptions(
                "stall_timeout", f"stall_timeout is {self.stall_timeout_s:g} s, not above 0"
            )
        if not 0 <= self.wait_for_slot_s <= MAX_WAIT_FOR_SLOT_S:
            raise InvalidOptions(
                "wait_for_slot",
                f"wait_for_slot is {self.wait_for_slot_s:g} s; "
                f"it must be from 0 to {MAX_WAIT_FOR_SLOT_S:g} s",
            )

    def resolve_sample_rate_hertz(self, info: ModelInfo) -> int:
        """The rate of the caller's samples; 0 for a container, which says it itself."""
        if self.encoding == "ogg_opus":
            return 0
        return self.sample_rate_hertz or info.sample_rate_hertz

    def resolve_stall_timeout_s(self, info: ModelInfo) -> float:
        """The stall timeout, the model's delay by default."""
        return self.stall_timeout_s or max(info.delay_s, MIN_STALL_TIMEOUT_S)
