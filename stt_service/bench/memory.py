"""What the server's processes hold: at rest, for each slot, and for each session."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from stt_service.bench.processes import read_resident_mib, serve
from stt_service.bench.streams import Streams

# Long enough for the model's rings to be in use, and for a session's own buffers.
SESSION_S = 6.0


@dataclass(frozen=True)
class MemoryReport:
    """Resident memory in MiB."""

    model: str
    slots: int
    at_rest_mib: float
    """stt-serve with one slot and nobody in it."""
    gateway_mib: float
    slot_mib: float
    session_mib: float
    """Of the server, beside its slot."""
    gateway_session_mib: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(model: str, slots: int, threads: int) -> MemoryReport:
    """Compare a server of one slot with one of many, and one at rest with one in use."""
    with serve(model, 1, 0.0, threads) as served:
        one_mib = read_resident_mib(served.pid)
    with serve(model, slots, 0.0, threads) as served:
        rest = read_resident_mib(served.pid), read_resident_mib(served.gateway_pid)
        running = Streams("ws", served.http, slots, SESSION_S)
        time.sleep(max(0.0, running.ends_at - 1.0 - time.time()))
        busy = read_resident_mib(served.pid), read_resident_mib(served.gateway_pid)
        running.wait()
    return MemoryReport(
        model=model,
        slots=slots,
        at_rest_mib=one_mib,
        gateway_mib=rest[1],
        slot_mib=(rest[0] - one_mib) / max(1, slots - 1),
        session_mib=(busy[0] - rest[0]) / slots,
        gateway_session_mib=(busy[1] - rest[1]) / slots,
    )


def format_table(report: MemoryReport) -> str:
    """The figures for a person."""
    rows = {
        "server, one slot, at rest": report.at_rest_mib,
        "gateway at rest": report.gateway_mib,
        "a slot more": report.slot_mib,
        "a session, in the server": report.session_mib,
        "a session, in the gateway": report.gateway_session_mib,
    }
    title = f"{report.model}, {report.slots} slots, resident MiB"
    return "\n".join([title, *(f"{name:<26} {mib:>8.2f}" for name, mib in rows.items())])
