"""A picture of what live streams cost. Needs the extra `plot`."""

# matplotlib is typed in part only.
# pyright: reportUnknownMemberType=false

from pathlib import Path

from stt_service.bench.service import OVER_GRPC, ServiceReport


def draw_service(report: ServiceReport, path: Path) -> None:
    """CPU time of a stream over how many there are, by protocol and process."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for protocol in dict.fromkeys(row.protocol for row in report.figures):
        rows = [row for row in report.figures if row.protocol == protocol]
        streams = [row.streams for row in rows]
        for name, cost_ms in (
            ("server", [row.server_ms for row in rows]),
            ("its main thread", [row.main_ms for row in rows]),
            ("gateway", [row.gateway_ms for row in rows]),
        ):
            if protocol not in OVER_GRPC or name != "gateway":
                axes.plot(streams, cost_ms, marker="o", label=f"{protocol}: {name}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("live streams")
    axes.set_ylabel("CPU, ms for a second of a stream")
    axes.set_title(f"{report.model} model")
    axes.legend()
    figure.savefig(path)
