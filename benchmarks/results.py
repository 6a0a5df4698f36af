"""What a benchmark has measured: kept as JSON, with the machine and the date, for the report.

One file per stage in ``benchmarks/results``. What ran on quiet processors is not lost when another stage runs again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

Row = Mapping[str, float]
"""What one round measured of one candidate, and the ``round``."""

DIRECTORY: Final = Path(__file__).parent / "results"


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option ``--out``, as every stage has it."""
    parser.add_argument("--out", type=Path, help="a file to write the results to, as JSON")


def write(out: Path | None, options: argparse.Namespace, data: Mapping[str, Any] | Sequence[Row]) -> None:
    """Write ``data`` with where and when it was measured, and how; nothing when ``out`` is None."""
    if out is None:
        return
    asked = {name: value for name, value in vars(options).items() if isinstance(value, int | float | bool)}
    document = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "options": asked, "data": data}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")


def read(stage: str, directory: Path = DIRECTORY) -> dict[str, Any] | None:
    """What :func:`write` wrote for ``stage``, or None."""
    path = directory / f"{stage}.json"
    document: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return document


def machine() -> dict[str, Any]:
    """What the figures depend on, and nothing that names the machine."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory[0] / 2**20) if memory else None,
    }


def ratio(over: Sequence[Row], under: Sequence[Row], value: str, per: str = "") -> float:
    """The median over rounds of ``value`` in ``over`` by ``per`` (the same, unless named) in ``under``.

    Rows of the same ``round`` are compared: what disturbs a whole round cancels out.
    """
    others = {row["round"]: row[per or value] for row in under}
    return median(row[value] / others[row["round"]] for row in over if row["round"] in others)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
