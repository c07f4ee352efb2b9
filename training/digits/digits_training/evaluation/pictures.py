"""The confusion matrix as a small picture."""

# matplotlib is typed in part only.
# pyright: reportUnknownMemberType=false

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from digits_training.vocabulary import DIGITS

_INCHES = 5
_DOTS_PER_INCH = 90


def draw_confusions(counts: npt.NDArray[np.int64], path: Path) -> None:
    """Write a PNG of counts [said, heard]; the last row and column mean "no word"."""
    labels = [*DIGITS, "no word"]
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    # A logarithmic shade, so that single mistakes can be seen beside hundreds of right words.
    axes.imshow(np.log1p(counts), cmap="Blues")
    axes.set_xticks(range(len(labels)), labels, rotation=60)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("heard")
    axes.set_ylabel("said")
    darkest = int(counts.max())
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if count > darkest / 8 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    figure.savefig(path)
