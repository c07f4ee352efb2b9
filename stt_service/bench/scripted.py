"""A model that has learnt its answers by heart: so a server costs what everything around the model
costs, and nothing else.

Run as a program, it serves like stt-serve, and takes no weights and no torch.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from stt_service.config import EngineConfig, EngineLimits, ServerConfig
from stt_service.engine.model import ModelInfo, StepOutput, StepPlan
from stt_service.process.loop import run
from stt_service.supervisor import ServeOptions, serve

PADDING = 3
END_OF_PADDING = 0
WORDS = (" one", " two", " three", " four", " five", " six", " seven", " eight", " nine")
# Before the words stand the ids without text.
PIECES = (b"", b"", b"", b"", *(word.encode() for word in WORDS))
# Three words a second, as fast as lively speech; tokens of real models are about as many.
STEPS_PER_WORD = 4
PAUSE_HEADS_S = (0.5, 1.0, 2.0, 3.0)


class ScriptedModel:
    """Says a word every 0.32 s, whatever it hears; a step takes `step_s` without the interpreter,
    as one on a GPU does."""

    def __init__(self, slots: int, step_s: float) -> None:
        self.info = ModelInfo(
            sample_rate_hertz=24_000,
            frame_samples=1_920,
            delay_s=0.5,
            silence_prefix_s=0.0,
            padding_id=PADDING,
            end_of_padding_id=END_OF_PADDING,
            pieces=PIECES,
            pause_heads_s=PAUSE_HEADS_S,
        )
        self.slots = slots
        self._step_s = step_s
        # Slots speak at different times, as people do.
        self._steps = np.arange(slots)
        self._probabilities = np.ones(slots, dtype=np.float32)
        self._pauses = np.zeros((slots, len(PAUSE_HEADS_S)), dtype=np.float32)

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def step(self, plan: StepPlan) -> StepOutput:
        """The script's next line for every active slot."""
        if self._step_s:
            time.sleep(self._step_s)
        self._steps[plan.active] += 1
        turn = self._steps % STEPS_PER_WORD
        words = len(PIECES) - len(WORDS) + self._steps // STEPS_PER_WORD % len(WORDS)
        text_ids = np.where(turn == 1, words, np.where(turn == 0, END_OF_PADDING, PADDING))
        return StepOutput(text_ids, self._probabilities, self._pauses)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpc", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--http", metavar="HOST:PORT", help="with the gateway, there")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=10.0)
    arguments = parser.parse_args(argv)
    options = ServeOptions(
        EngineConfig(slots=arguments.slots, limits=EngineLimits(max_behind_s=60.0)),
        ServerConfig(grpc_address=arguments.grpc, drain_grace_s=0.0),
        arguments.http,
        "text",
    )
    model = ScriptedModel(arguments.slots, arguments.step_ms / 1000)
    run(serve(options, lambda: model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
