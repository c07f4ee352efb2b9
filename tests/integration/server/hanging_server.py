"""stt-serve with a model that hangs after ten steps; run as a program."""

import asyncio
import sys

from stt_service.config import EngineConfig, EngineLimits, ServerConfig
from stt_service.supervisor import ServeFailed, ServeOptions, serve
from tests.integration.engine.harness import GatedModel


class HangingModel(GatedModel):
    """Hangs as a GPU does: the call does not return."""

    def step(self, plan):
        if self.steps >= 10:
            self.gates["step"].clear()
        return super().step(plan)


def main() -> int:
    options = ServeOptions(
        engine=EngineConfig(limits=EngineLimits(step_timeout_s=1.0)),
        server=ServerConfig(grpc_address="127.0.0.1:0"),
        http_address=None,
        log_format="text",
    )
    try:
        asyncio.run(serve(options, HangingModel().load))
    except ServeFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
