"""Horizontal bars as SVG, by matplotlib, which is installed beside the peers.

The same figures give the same file, so that a chart in the repository changes when what it shows does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "connect_logging", "svg.fonttype": "none", "font.family": "sans-serif"})

import matplotlib.pyplot as plt  # noqa: E402 - after the choice of what it draws with

_COLOURS: Final = ("#5b6b7b", "#aab6c2")
_OURS: Final = ("#0b6e4f", "#66c2a0")
_ROW: Final = 0.34
"""Inches of height for a bar's row."""


def bars(
    path: Path,
    title: str,
    series: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    *,
    shown: str = "{:,.1f}",
) -> None:
    """One row per label, with a bar for each of one or two ``series``; rows of ours have another colour."""
    height = _ROW * len(labels) * (1 + 0.55 * (len(series) - 1)) + 1.1
    figure, axes = plt.subplots(figsize=(8.4, height))
    thick = 0.78 / len(series)
    for place, (name, values) in enumerate(series.items()):
        colours = [(_OURS if label.startswith("Connect") else _COLOURS)[place] for label in labels]
        at = [row + (place - (len(series) - 1) / 2) * thick for row in range(len(labels))]
        drawn = axes.barh(at, values, thick * 0.92, color=colours, label=name)
        axes.bar_label(drawn, [shown.format(value) for value in values], padding=4, fontsize=8.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.margins(x=0.12)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
