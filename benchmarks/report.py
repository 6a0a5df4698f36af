"""Prints all goals as one table, and writes docs/performance.md with its charts from the stored results.

    python benchmarks/report.py [--results DIRECTORY] [--page FILE]

The results are those that the stages have written, each when it ran. Nothing is measured here. benchmarks/diary.md,
which is written by hand, becomes its last section.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import results
from candidates import CANDIDATES
from goals import LIMIT, NULL, ORIGINAL, QUEUE, Reached, best_sdk, reached

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parent / "docs" / "performance.md"
STAGES: Final = ("emit", "delivery", "outage", "single_pushes", "imports", "ingest", "small_pushes", "query")

_Documents = Mapping[str, dict[str, Any] | None]
_HEAD: Final = """# How fast it is

This page is written by `make bench` from what it measured (`benchmarks/results`), but for the diary at its end. What
counts are ratios: all candidates of a table ran side by side, each in a process of its own, in turn, round after round.
Figures are medians of the rounds, ratios the medians of the ratios of each round. The event is the same everywhere, is
nested and has ten properties.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=results.DIRECTORY)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    documents = {stage: results.read(stage, options.results) for stage in STAGES}
    rows = reached(documents)
    widths = [max(len(row.columns[place]) for row in rows) for place in range(4)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row.columns, widths, strict=True)).rstrip())
    missed = sum(row.value is not None and not row.is_met for row in rows)
    print(f"{sum(row.is_met for row in rows)} goals met, {missed} missed, of {len(rows)}")
    options.page.write_text(page(documents, rows))
    if importlib.util.find_spec("matplotlib"):
        draw(documents, options.page.with_suffix(""))
    else:
        print("The charts are not drawn: matplotlib is not installed here.", file=sys.stderr)


def page(documents: _Documents, rows: Sequence[Reached]) -> str:
    """The whole of docs/performance.md."""
    goals = _table(["what", "goal", "measured", ""], [row.columns for row in rows])
    sections = [_HEAD, _machines(documents), f"## Goals\n\n{goals}"]
    for stage, write in _SECTIONS.items():
        if (document := documents[stage]) is not None:
            sections.append(write(document["data"], document["options"]))
    sections.append(f"## How each candidate is set up\n\n{_setups()}")
    sections.append(re.sub("^#", "##", (HERE / "diary.md").read_text(), flags=re.MULTILINE))
    return "\n\n".join(map(_filled, "\n\n".join(sections).split("\n\n"))) + "\n"


def draw(documents: _Documents, directory: Path) -> None:
    """The charts that the page shows."""
    from charts import bars

    if (emit := documents["emit"]) is not None:
        rows = emit["data"]
        names = [name for name in rows if name != NULL]
        series = {
            words: [results.ratio(rows[name], rows[NULL], which) for name in names]
            for words, which in (("one thread", "one"), ("eight threads", "eight"))
        }
        bars(directory / "log-call.svg", "A log call, as a multiple of NullHandler's", series, names)
    if (delivery := documents["delivery"]) is not None:
        # Single pushes would hide the rest.
        rows = {name: row for name, row in delivery["data"].items() if name not in (NULL, "connect-client, single")}
        for value, title, shown in (
            ("rate", "From log call to received, events a second", "{:,.0f}"),
            ("cpu", "Seconds of processor time per 100,000 events received", "{:,.1f}"),
        ):
            values = {title: [_middle(row, value) for row in rows.values()]}
            bars(directory / f"{value}.svg", title, values, [*rows], shown=shown)
    if (outage := documents["outage"]) is not None:
        rows = outage["data"]
        values = {"lost": [100 * row["lost"] for row in rows.values()]}
        bars(directory / "outage.svg", "Lost in an outage of 20 s, of 200,000 events, %", values, [*rows])


def _machines(documents: _Documents) -> str:
    """One line for each machine and day."""
    found: dict[str, list[str]] = {}
    for stage, document in documents.items():
        if document is not None:
            has = document["machine"]
            words = (
                f"{document['date']}: {has['implementation']} {has['python']}, {has['cores']} cores"
                f" ({has['processor']}), {has['memory_gib']} GiB, {has['system']}"
            )
            found.setdefault(words, []).append(stage)
    if len(found) == 1:
        return f"Measured {next(iter(found))}."
    return "\n".join(f"* {', '.join(stages)}: measured {words}" for words, stages in found.items())


def _emit(rows: dict[str, list[dict[str, float]]], options: Mapping[str, Any]) -> str:
    lines = []
    for name, row in rows.items():
        cells = [name]
        for which in ("one", "eight"):
            cells.append(_spread([each[which] * 1e6 for each in row], "{:.1f}"))
            cells += [f"{results.ratio(row, rows[other], which):.2f}" for other in (NULL, QUEUE)]
        lines.append([*cells, f"{_middle(row, 'p999') * 1e3:.1f}"])
    head = ["log call", "µs, one thread", "x Null", "x Queue", "µs, 8 threads", "x Null", "x Queue", "p99.9, ms"]
    return f"""## The log call

{options["rounds"]} rounds of {options["calls"]:,} calls. What sends waits for an address that takes connections and
never answers, with room for all events: this is the call alone. One thread by its own processor time, eight by the wall
clock. In brackets the least and the most of the rounds; `x Null` and `x Queue` are multiples of NullHandler's and
QueueHandler's; p99.9 is of single calls in eight threads, where a call may wait for the GIL.

![A log call, as a multiple of NullHandler's](performance/log-call.svg)

{_table(head, lines)}"""


def _delivery(rows: dict[str, list[dict[str, float]]], options: Mapping[str, Any]) -> str:
    lines = [
        [
            name,
            _spread([each["rate"] for each in row], "{:,.0f}"),
            f"{results.ratio(row, rows[NULL], 'rate'):.3f}",
            f"{_middle(row, 'lost'):.0%}",
            f"{_middle(row, 'cpu'):.2f}",
            f"{_middle(row, 'peak'):.0f}",
        ]
        for name, row in rows.items()
    ]
    scale = ""
    if ORIGINAL in rows:
        sdk = results.ratio(rows[LIMIT], best_sdk(rows), "rate")
        original = results.ratio(rows[LIMIT], rows[ORIGINAL], "rate")
        scale = f"""

For scale: the limit program's rate is {sdk:.1f} times that of the best SDK, and {original:.1f} times that of the
original client's batches."""
    head = ["log → received", "events/s", "x Null", "lost", "CPU s per 100,000", "memory, MiB"]
    return f"""## From the log call to the server

{options["events"]:,} events, of peers {options["peers"]:,}, are logged as fast as it goes, in {options["rounds"]}
rounds (peers: every other). The time ends with the last event that a local sink, which says 200 to all, has received;
the processor time is that of the logging process, and of the one that it has started to send with that one's start.
NullHandler sends nothing: its rate is that at which `logging` takes calls. *Enlarged*: with room for all events. Single
pushes of the original are {options["peers"] // 25:,}.

![Events a second](performance/rate.svg)

![Processor time](performance/cpu.svg)

{_table(head, lines)}{scale}"""


def _outage(rows: dict[str, dict[str, float]], options: Mapping[str, Any]) -> str:
    lines = [
        [
            name,
            f"{row['logged']:,.0f}",
            f"{row['lost']:.1%}",
            f"{row['peak'] - row['before']:.0f}",
            "-" if row["lost"] else f"{row['recovered']:.1f}",
            f"{row['twice']:.0f}",
        ]
        for name, row in rows.items()
    ]
    head = ["outage", "logged", "lost", "memory, + MiB", "s until all was there", "received twice"]
    return f"""## An outage

The server refuses connections for {options["seconds"]:.0f} s, in which {options["events"]:,} events are logged at a
steady rate, or as many as a candidate manages in that time, and is there again. Then each does what its documentation
says before the end of a process, in two minutes at most. Two run at a time, so the seconds are not to be compared.

![Lost](performance/outage.svg)

{_table(head, lines)}"""


def _single_pushes(rows: dict[str, list[dict[str, float]]], options: Mapping[str, Any]) -> str:
    lines = [[name, *(f"{_middle(row, way):,.0f}" for way in ("together", "in_turn"))] for name, row in rows.items()]
    return f"""## Single pushes

A future for each push; {options["pushes"]:,} of ours and {options["original"]:,} of the original, all waited for at the
end, or each before the next.

{_table(["client", "pushes/s, together", "pushes/s, in turn"], lines)}"""


def _imports(rows: dict[str, list[dict[str, float]]], _: Mapping[str, Any]) -> str:
    lines = [
        [f"`import {name}`", _spread([each["seconds"] * 1e3 for each in row], "{:.0f}")] for name, row in rows.items()
    ]
    where = "Processor time, each in a new process, where this package is installed and nothing else."
    return f"## Import\n\n{where}\n\n{_table(['import', 'ms'], lines)}"


def _ingest(data: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    rounds = data["rounds"]
    reference = next(iter(rounds))
    lines = [
        [
            name,
            _spread([each["rate"] for each in row], "{:,.0f}"),
            f"{results.ratio(row, rounds[reference], 'rate'):.2f}",
            f"{_middle(row, 'cpu'):.1f}",
        ]
        for name, row in rounds.items()
    ]
    grown = ""
    if stored := data["stored"]:
        grown = f"""

With {options["stored"]:,} events stored, the rate is {_spread(stored["rate"], "{:.2f}")} of that with none, at
{median(stored["cpu"]):.2f} of the processor time."""
    head = ["ingest", "events/s", f"x {reference}", "µs of CPU per event"]
    return f"""## The server: ingest

{options["events"]:,} events over HTTP, {options["connections"]} connections, each event and its id checked, each answer
after its commit; beside DuckDB that inserts the same text by itself.

{_table(head, lines)}{grown}"""


def _small_pushes(rows: list[dict[str, float]], options: Mapping[str, Any]) -> str:
    rate, alone, commit, middle, slow = (_middle(rows, name) for name in ("rate", "alone", "commit", "middle", "slow"))
    share, most, times = (
        results.ratio(rows, rows, *names) for names in (("rate", "large"), ("bare", "large"), ("slow", "commit"))
    )
    return f"""## The server: many small producers

{options["producers"]} producers push batches of 1 to 50 events, each answered after its commit: {rate:,.0f} events/s,
{share:.2f} of the rate of batches of 5,000. A push waits {middle * 1e3:.0f} ms, 1 of 100 longer than
{slow * 1e3:.0f} ms: {times:.1f} times what a commit takes in that load ({commit * 1e3:.1f} ms). One event, pushed when
nothing else happens, is answered after {alone * 1e3:.1f} ms.

As a bound, the same reading and storing behind the least HTTP that there can be, which looks at no path, key or limit
(`benchmarks/bare_server.py`): {most:.2f} of the rate of batches of 5,000."""


def _query(data: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    lines = [
        [name, f"{served * 1e3:.1f}", f"{alone * 1e3:.1f}", f"{served / alone:.2f}"]
        for name, (served, alone) in data["questions"].items()
    ]
    answers = data["answers"]
    return f"""## The server: questions

{options["events"]:,} nested events, asked over HTTP, beside DuckDB that is asked the same of a flat table with a typed
column for each property. {options["clients"]} clients at a time get {sum(answers) / options["seconds"]:,.0f} answers a
second; the slowest gets {min(answers) * len(answers) / sum(answers):.2f} of the mean.

{_table(["question", "ms", "ms, flat table", "x"], lines)}"""


_SECTIONS: Final = {
    "emit": _emit,
    "delivery": _delivery,
    "outage": _outage,
    "single_pushes": _single_pushes,
    "imports": _imports,
    "ingest": _ingest,
    "small_pushes": _small_pushes,
    "query": _query,
}


def _setups() -> str:
    pinned = [line.strip() for line in (HERE / "peers.txt").read_text().splitlines() if line and line[0] != "#"]
    lines = [[name, each.setup, each.enlarged] for name, each in CANDIDATES.items()]
    packages = ", ".join(line.replace("==", " ") for line in [*pinned, "connect-client 0.1.1"])
    return f"""{_table(["candidate", "set up", "enlarged"], lines)}

`enlarged` is the option that each one's documentation names, set to 1,000,000; Sentry has none for the first of its two
queues, so its constant is set. Versions: {packages}."""


def _filled(block: str) -> str:
    """A paragraph with lines of 120 characters; tables, headings and the like as they are."""
    text = block.strip()
    return text if text.startswith(("#", "|", "* ", "![", "```")) else textwrap.fill(" ".join(text.split()), 120)


def _middle(row: Sequence[Mapping[str, float]], value: str) -> float:
    return median(each[value] for each in row)


def _spread(values: Sequence[float], shown: str) -> str:
    """The median, and between which the others are."""
    middle, least, most = (shown.format(value) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least}-{most})"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in rows)


if __name__ == "__main__":
    main()
