"""The parts of `poe bench` that measure what is around the model."""

import argparse
from pathlib import Path
from typing import Any, Protocol

from stt_service.bench.processes import SCRIPTED, check_system
from stt_service.deploy.bench import parse_batch_sizes
from stt_service.process.environment import InvalidSetting


class Report(Protocol):
    """What a part has measured."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ...


Measured = tuple[Report, str]
"""A report, and its table."""


def add_parts(parts: Any) -> None:
    """Add `service`, `start` and `memory` to the command line's parts."""
    service = parts.add_parser("service", help="live streams: CPU time, delays, backlog")
    service.add_argument("--model", default=SCRIPTED, help="scripted, or as in stt-serve --model")
    service.add_argument("--protocols", default="grpc,ws", metavar="grpc,ws,…")
    service.add_argument("--streams", default="8,32", metavar="N,N,…")
    service.add_argument("--seconds", type=float, default=15.0, help="of audio, for each row")
    service.add_argument(
        "--speech", type=Path, metavar="FOLDER", help="say its WAV files (default: noise)"
    )
    service.add_argument("--step-ms", type=float, default=10.0, help="of the scripted model")
    service.add_argument("--plot", type=Path, metavar="FILE", help="draw them, as PNG or SVG")
    service.set_defaults(measure=measure_service)
    start = parts.add_parser("start", help="imports, loading, warm-up, ready")
    start.add_argument("--model", default="digits", help="as in stt-serve --model")
    start.add_argument("--slots", type=int, default=8)
    start.add_argument("--runs", type=int, default=3)
    start.set_defaults(measure=measure_start)
    memory = parts.add_parser("memory", help="at rest, a slot, a session")
    memory.add_argument("--model", default="digits", help="scripted, or as in stt-serve --model")
    memory.add_argument("--slots", type=int, default=16)
    memory.set_defaults(measure=measure_memory)
    for part in (service, start, memory):
        part.add_argument("--threads", type=int, default=1, help="of a model on the CPU")


def measure_service(arguments: argparse.Namespace) -> Measured:
    """Raises InvalidSetting."""
    from stt_service.bench import service

    check_system()
    protocols = tuple(str(arguments.protocols).split(","))
    if not set(protocols) <= set(service.PROTOCOLS):
        known = ",".join(service.PROTOCOLS)
        raise InvalidSetting(f"--protocols is {arguments.protocols!r}; write some of {known}")
    if not arguments.seconds > service.SETTLE_S or not arguments.step_ms >= 0:
        raise InvalidSetting(
            f"--seconds must be above {service.SETTLE_S:g}, and --step-ms 0 or more"
        )
    report = service.measure(
        arguments.model,
        protocols,
        parse_batch_sizes(arguments.streams),
        arguments.seconds,
        arguments.step_ms,
        arguments.threads,
        arguments.speech,
    )
    if arguments.plot:
        from stt_service.bench.service_plot import draw_service

        draw_service(report, arguments.plot)
    return report, service.format_table(report)


def measure_start(arguments: argparse.Namespace) -> Measured:
    """Raises InvalidSetting."""
    from stt_service.bench import start

    check_system()
    if arguments.runs < 1:
        raise InvalidSetting("--runs must be 1 or more")
    report = start.measure(arguments.model, arguments.slots, arguments.runs, arguments.threads)
    return report, start.format_table(report)


def measure_memory(arguments: argparse.Namespace) -> Measured:
    """Raises InvalidSetting."""
    from stt_service.bench import memory

    check_system()
    if arguments.slots < 2:
        raise InvalidSetting("--slots must be 2 or more: one of them is compared with the others")
    report = memory.measure(arguments.model, arguments.slots, arguments.threads)
    return report, memory.format_table(report)
