"""What the model thread is doing, for whoever watches it from outside."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Activity(Enum):
    """What the thread does between two beats."""

    LOADING = "loading the model"
    WARMING_UP = "warming up"
    STEPPING = "stepping"
    RESTING = "waiting for something to step"


@dataclass(frozen=True, slots=True, eq=False)
class Beat:
    """A sign of life, told apart from all others by its identity.

    `behind_s` is how far the thread was behind real time then, and `at_s` when that was.
    """

    activity: Activity
    behind_s: float
    at_s: float


class Pulse:
    """The model thread's signs of life. It writes them; any thread may read them.

    A frame is stepped in real time if its step takes no longer than the frame lasts. What a step
    takes longer, everybody whose audio comes in real time is behind by; what it takes less, they
    catch up by; and at rest nobody waits. So the sum says how far the engine is behind real time,
    which the length of the queues does not: who sends a recording at full speed always has one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.frame_s = 0.0
        """How long a frame lasts, once a model is loaded."""
        # Replaced as a whole, never changed: that is what makes reading safe.
        self._beat = Beat(Activity.LOADING, 0.0, clock())

    @property
    def latest(self) -> Beat:
        """The latest sign of life."""
        return self._beat

    @property
    def behind_s(self) -> float:
        """How far the engine is behind real time now, the step in progress included."""
        beat = self._beat
        if beat.activity is not Activity.STEPPING:
            return 0.0
        return max(beat.behind_s, self._add_step(beat, self._clock()))

    def begin(self, activity: Activity) -> None:
        """The thread begins something, with nobody behind."""
        self._beat = Beat(activity, 0.0, self._clock())

    def end_step(self) -> None:
        """A step has ended, and the next may follow."""
        now_s = self._clock()
        self._beat = Beat(Activity.STEPPING, self._add_step(self._beat, now_s), now_s)

    def _add_step(self, beat: Beat, now_s: float) -> float:
        return max(0.0, beat.behind_s + (now_s - beat.at_s) - self.frame_s)
