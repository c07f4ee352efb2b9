"""A picture of the step's figures. Needs the extra `plot`."""

# matplotlib is typed in part only.
# pyright: reportUnknownMemberType=false

from pathlib import Path

from stt_service.bench.step import StepReport


def draw_steps(report: StepReport, path: Path) -> None:
    """Time over slots, ours, stock moshi's, and what reading the bytes takes."""
    from matplotlib.figure import Figure

    rows = [row for row in report.figures if row.streams == row.slots]
    slots = [row.slots for row in rows]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(slots, [row.ours_ms for row in rows], marker="o", label="our step")
    if all(row.stock_ms is not None for row in rows):
        stock = [row.stock_ms or 0.0 for row in rows]
        axes.plot(slots, stock, marker="o", label=f"stock moshi, {report.stock_weights}")
    axes.plot(slots, [row.floor_ms for row in rows], linestyle=":", label="reading the bytes")
    axes.axhline(80, color="gray", linewidth=0.8, label="a frame: 80 ms")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(slots, [str(count) for count in slots])
    axes.set_xlabel("slots, each with a frame")
    axes.set_ylabel("ms a step")
    axes.set_title(f"{report.checkpoint}, {report.weights} weights, {report.threads} threads")
    axes.legend()
    figure.savefig(path)
