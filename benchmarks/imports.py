"""How long ``import connect_logging`` takes, beside ``import requests`` alone.

    python benchmarks/imports.py [--rounds 21] [--quick]

Each import is the first of a process of its own, whose processor time for it is taken; rounds are interleaved. With
``.cache/alone``, which ``make bench-peers`` makes, they run where this package is installed and nothing else, as what
others bring, typing_extensions for one, is imported where it is found. Without it they run in this environment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Final

import results

_ALONE: Final = Path(__file__).parent.parent / ".cache" / "alone" / "bin" / "python"
MODULES: Final = ("requests", "connect_logging")
_PROGRAM: Final = """
import json, sys, time
began = time.process_time()
import {module}
spent = time.process_time() - began
server = [name for name in sys.modules if name.startswith("connect_logging.server")]
print(json.dumps({{"seconds": spent, "server_modules": len(server)}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="one round: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    rows: dict[str, list[dict[str, float]]] = {module: [] for module in MODULES}
    for number in range(options.rounds):
        for module, row in rows.items():
            row.append({"round": number, **_imported(module)})
    results.write(options.out, options, rows)
    for module, row in rows.items():
        spent = [each["seconds"] * 1e3 for each in row]
        print(f"{module:16} {median(spent):6.1f} ms  ({min(spent):.1f}-{max(spent):.1f})")
    ours = rows["connect_logging"]
    print(f"x{results.ratio(ours, rows['requests'], 'seconds'):.2f}", end="")
    print(f"; modules of the server that it imports: {ours[0]['server_modules']}")


def _imported(module: str) -> dict[str, float]:
    """``seconds``, and the number of ``server_modules`` that came along."""
    python = str(_ALONE) if _ALONE.exists() else sys.executable
    program = _PROGRAM.format(module=module)
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    values: dict[str, float] = json.loads(done.stdout)
    return values


if __name__ == "__main__":
    main()
