"""stt-serve with a model that dies after ten steps; run as a program."""

import asyncio
import sys

from stt_service.config import EngineConfig, ServerConfig
from stt_service.supervisor import ServeFailed, ServeOptions, serve
from tests.integration.engine.harness import FailingModel, load_model


def main() -> int:
    options = ServeOptions(
        engine=EngineConfig(),
        server=ServerConfig(grpc_address="127.0.0.1:0"),
        http_address=None,
        log_format="text",
    )
    try:
        asyncio.run(serve(options, lambda: FailingModel(load_model(), steps=10)))
    except ServeFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
