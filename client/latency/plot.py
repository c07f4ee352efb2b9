"""The distribution of token lags as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class PlotError(Exception):
    """The plot cannot be drawn; the text says what helps."""


def check_plot(path: Path) -> None:
    """Raise `PlotError` without matplotlib, and ValueError for a name of no kind of picture."""
    kinds = _make_figure().canvas.get_supported_filetypes()
    if _kind_of(path) not in kinds:
        raise ValueError(
            f"--plot {path}: no picture can be written as .{_kind_of(path)}; name it like lags.png"
        )


def draw_plot(lags_s: Mapping[str, Sequence[float]], path: Path) -> bytes:
    """A picture of the kind that the name says: the distribution of token lags, a curve each label.

    Raises `PlotError` where matplotlib is missing or nothing was measured.
    """
    measured = {label: values for label, values in lags_s.items() if values}
    if not measured:
        raise PlotError("No token came, so there is nothing to plot.")
    figure = _make_figure()
    axes = figure.subplots()
    for label, values in measured.items():
        axes.ecdf(values, label=f"{label} ({len(values)} tokens)")
    axes.set_xlabel("seconds from the start of a word in the audio to its token")
    axes.set_ylabel("share of tokens")
    axes.set_xlim(left=0.0)
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format=_kind_of(path))
    return picture.getvalue()


def _kind_of(path: Path) -> str:
    return path.suffix[1:].lower() or "png"


def _make_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            "--plot needs matplotlib; in a clone: pip install '.[plot]', or uv run --extra plot …"
        ) from error
    return Figure(figsize=(8, 5), layout="constrained")
