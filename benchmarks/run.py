"""Runs the stages, keeps what each measured in benchmarks/results, and makes the report.

    python benchmarks/run.py [--only emit,delivery] [--quick]

A stage that fails is named at the end, the others run; its earlier results stay, with their date. With ``--quick`` all
stages run on little, to see that they do, and nothing is kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from results import DIRECTORY
from rounds import python

HERE: Final = Path(__file__).parent
STAGES: Final[dict[str, list[str]]] = {
    "emit": [],
    "delivery": [],
    "single_pushes": [],
    "imports": [],
    "outage": [],
    "ingest": ["--stored=10000000"],
    "small_pushes": [],
    "query": [],
}
"""In this order, each with its options."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(STAGES), help="stages, with commas between them")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := set(asked) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    failed = [stage for stage in asked if not _run(stage, options.quick)]
    if not options.quick:
        subprocess.run([python(), str(HERE / "report.py")], check=True)
    for stage in failed:
        print(f"{stage} failed, see above", file=sys.stderr)
    return 1 if failed else 0


def _run(stage: str, is_quick: bool) -> bool:
    """Whether it ended well."""
    print(f"== {stage}", flush=True)
    how = ["--quick"] if is_quick else ["--out", str(DIRECTORY / f"{stage}.json"), *STAGES[stage]]
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(HERE / f"{stage}.py"), *how], check=False)
    print(f"   {time.monotonic() - began:.0f} s\n", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
