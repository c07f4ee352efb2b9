"""Run the pool's class in this process as Modal's container entry point does.

The event loop, the order of the enter methods, SIGTERM and the exit methods are the SDK's own
code. Only the messages to Modal about the task are left out.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from modal._container_entrypoint import call_server
from modal._runtime.user_code_event_loop import UserCodeEventLoop
from modal._runtime.user_code_imports import ImportedServer
from modal._utils.async_utils import synchronizer
from modal_proto import api_pb2

from stt_service import modal_app


class SilentTask:
    """In place of the manager that tells Modal how the task fares."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @contextlib.contextmanager
    def handle_task_lifecycle_exception(self) -> Iterator[None]:
        yield

    def volume_commit(self, volume_ids: list[str]) -> None:
        assert volume_ids == []

    def memory_snapshot(self) -> None:
        member = self._pool.member
        print(f"snapshot loaded={member.is_warm} port={member.port} grpc={count_grpc_objects()}")


def count_grpc_objects() -> int:
    """Threads of gRPC's own, and the descriptors by which they are woken.

    They would come out of a snapshot dead, and with them a server that was made before it.
    """
    tasks = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    threads = sum(name.startswith(("grpc", "event_engine", "lifeguard")) for name in tasks)
    descriptors = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()]
    return threads + sum("eventfd" in target for target in descriptors)


PoolClass = cast(Any, synchronizer._translate_in(modal_app.SpeechToText))._get_user_cls()


class LoopbackPool(PoolClass):
    """The class itself, on a free port of loopback."""

    address = "127.0.0.1:0"


def main() -> None:
    pool = LoopbackPool()
    service = ImportedServer(
        user_cls_instance=pool,
        app=cast(Any, modal_app.app),
        service_deps=None,
        function_def=api_pb2.Function(
            is_server=True, is_checkpointing_function=modal_app.deployment.snapshot
        ),
    )
    task = cast(Any, SilentTask(pool))
    with UserCodeEventLoop() as event_loop, service.lifecycle_context(event_loop, task):
        print(f"ready port={pool.member.port}", flush=True)
        call_server(event_loop)


if __name__ == "__main__":
    main()
