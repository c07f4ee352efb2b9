"""Notices from the event loop that the model thread hangs."""

from collections.abc import Callable, Mapping

from stt_service.config import EngineLimits
from stt_service.engine.pulse import Activity, Beat


class ModelHung(Exception):
    """The model thread gives no sign of life; it cannot be ended, but its sessions can."""


class Watchdog:
    """Calls `on_hang` once, when one beat lasts longer than its activity may.

    `look` is to be called regularly. `clock` counts the time in which the process ran (AwakeClock):
    a model whose process was stopped has not hung.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        limits: EngineLimits,
        on_hang: Callable[[BaseException], None],
    ) -> None:
        self._clock = clock
        self._on_hang = on_hang
        self._limits_s: Mapping[Activity, float] = {
            Activity.LOADING: limits.loading_timeout_s,
            Activity.WARMING_UP: limits.warm_up_timeout_s,
            Activity.STEPPING: limits.step_timeout_s,
        }
        self._seen: Beat | None = None
        self._seen_at_s = 0.0
        self._has_told = False

    def look(self, beat: Beat) -> None:
        """Compare the latest beat with the one that was seen last."""
        if beat is not self._seen:
            self._seen, self._seen_at_s = beat, self._clock()
            return
        limit_s = self._limits_s.get(beat.activity)
        if self._has_told or limit_s is None or self._clock() - self._seen_at_s < limit_s:
            return
        self._has_told = True
        self._on_hang(ModelHung(_describe(beat.activity, limit_s)))


def _describe(activity: Activity, limit_s: float) -> str:
    if activity is Activity.STEPPING:
        return f"no step has ended for {limit_s:g} s while audio waited"
    return f"{activity.value} has taken more than {limit_s:g} s"
