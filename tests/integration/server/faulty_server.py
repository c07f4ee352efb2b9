"""stt-serve with a model that fails after ten steps: a program whose argument says how it fails."""

import asyncio
import sys
from collections.abc import Callable

from stt_service.config import EngineConfig, EngineLimits, ServerConfig
from stt_service.engine.model import BatchedModel
from stt_service.supervisor import ServeFailed, ServeOptions, serve
from tests.integration.engine.harness import FailingModel, GatedModel, load_model

STEPS = 10


class HangingModel(GatedModel):
    """Hangs as a GPU does: the call does not return."""

    def step(self, plan):
        if self.steps >= STEPS:
            self.gates["step"].clear()
        return super().step(plan)


# Only what hangs needs a short time-out; a busy machine may take long for a step.
LIMITS = {"dies": EngineLimits(), "hangs": EngineLimits(step_timeout_s=1.0)}
MODELS: dict[str, Callable[[], BatchedModel]] = {
    "dies": lambda: FailingModel(load_model(), steps=STEPS),
    "hangs": lambda: HangingModel().load(),
}


def main() -> int:
    fault = sys.argv[1]
    options = ServeOptions(
        engine=EngineConfig(limits=LIMITS[fault]),
        server=ServerConfig(grpc_address="127.0.0.1:0"),
        http_address=None,
        log_format="text",
    )
    try:
        asyncio.run(serve(options, MODELS[fault]))
    except ServeFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
