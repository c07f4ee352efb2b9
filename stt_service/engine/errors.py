"""What can go wrong in the engine.

EngineError
├── InvalidOptions    the caller asked for something that does not exist
├── InvalidAudio      the samples are not what the caller said they are
├── NotServing        come back later
│   ├── WarmingUp     the model is still loading
│   ├── NoFreeSlot    every slot is taken
│   ├── Overloaded    the model is behind the sessions that are open
│   ├── TooManySessions  this caller has as many as it may have
│   └── Draining      the engine admits no new sessions
├── IdleTimeout       no audio for too long; the words were flushed
├── SlowConsumer      the caller does not read its events
├── BrokenOutput      the model gave no numbers for this session
├── InternalError     a fault of ours, in this session only
├── EngineDied        the model thread raised or hangs
├── NotEnoughMemory   there is no room for so many slots
└── UnsuitableCheckpoint        the model cannot be served; the message says why
    └── UnreachableCheckpoint   it is not in the local cache and cannot be fetched

Each message is written for the caller. The engine knows no status codes: the
one table that translates these classes is in `stt_service/translation.py`.
"""

MAX_REASON_LENGTH = 500


class EngineError(Exception):
    """Base of all errors that a caller of the engine may see."""


class InvalidOptions(EngineError):
    """`option` names the setting that is wrong."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class InvalidAudio(EngineError):
    """The samples are not finite, far outside [-1, 1], or not decodable."""


class NotServing(EngineError):
    """The session was not admitted; asking again after `retry_after_s` may help."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WarmingUp(NotServing):
    def __init__(self) -> None:
        super().__init__("the model is still loading; try again shortly", retry_after_s=2.0)


class NoFreeSlot(NotServing):
    def __init__(self, slots: int) -> None:
        super().__init__(
            f"all {slots} slots are taken; try again when a session has ended", retry_after_s=1.0
        )


class Overloaded(NotServing):
    def __init__(self, behind_s: float) -> None:
        super().__init__(
            f"the model is {behind_s:.1f} s behind the sessions that are open; try again shortly",
            retry_after_s=1.0,
        )


class TooManySessions(NotServing):
    def __init__(self, sessions: int) -> None:
        what = "1 session" if sessions == 1 else f"{sessions} sessions"
        super().__init__(
            f"{what} at once is all that your key may have; try again when one has ended",
            retry_after_s=1.0,
        )


class Draining(NotServing):
    def __init__(self) -> None:
        super().__init__(
            "the server is shutting down; open a new session elsewhere", retry_after_s=1.0
        )


class IdleTimeout(EngineError):
    def __init__(self, idle_timeout_s: float) -> None:
        super().__init__(
            f"no audio for {idle_timeout_s:g} s; the words were flushed and the session ended"
        )


class SlowConsumer(EngineError):
    def __init__(self, waited_s: float) -> None:
        super().__init__(f"the caller has not read its events for {waited_s:g} s")


class BrokenOutput(EngineError):
    def __init__(self) -> None:
        super().__init__(
            "the model's output for this session was not finite or out of range: a fault of the "
            "server; open a new session"
        )


class InternalError(EngineError):
    def __init__(self) -> None:
        super().__init__("the session failed through a fault of the server; its log says why")


class EngineDied(EngineError):
    """`reason` is for the operator: the text of an exception is nothing for strangers."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the model has died and the server ends; open a new session")
        self.reason = f"{type(cause).__name__}: {cause}"[:MAX_REASON_LENGTH]


class NotEnoughMemory(EngineError):
    """The model's memory was counted before it was asked for."""

    def __init__(self, slots: int, needed: int, free: int, most: int, kind: str) -> None:
        super().__init__(
            f"a batch size of {slots} needs {needed / 2**30:.1f} GiB of {kind}, and "
            f"{free / 2**30:.1f} are free: "
            + (f"at most {most}" if most else "not even one slot fits")
        )


class UnsuitableCheckpoint(EngineError):
    """The checkpoint cannot be served; the message says why."""


class UnreachableCheckpoint(UnsuitableCheckpoint):
    """The checkpoint is not in the local cache and cannot be fetched from Hugging Face."""
