"""What the benchmarks say of what they measured. ``make bench`` measures; the peers are not needed here."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import goals
import instructions
import measuring
import report
import results
from candidates import CANDIDATES, COLLECTION, EVENT, MARK, Target, open_candidate
from sink import Silence, Sink


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with closing(Sink()) as started:
        yield started


LOCAL = [name for name, each in CANDIDATES.items() if each.function.split(":")[0] in ("local", "ours", "bounds")]


def rows(*values: float, name: str = "rate") -> list[dict[str, float]]:
    return [{"round": number, name: value} for number, value in enumerate(values)]


def test_a_rise_of_instructions_is_named() -> None:
    kept = {"call": 1_000, "drain": 1_000, "less": 1_000}
    call, drain, less, new = instructions.compared(kept, {"call": 1_051, "drain": 1_050, "less": 900, "new": 5})
    assert call.startswith("! call")
    assert "+5.1%" in call
    assert "more than 5% above the 1,000" in call
    assert drain.startswith("  drain")
    assert "+5.0%" in drain
    assert "-10.0%" in less
    assert new.split() == ["new", "5", "instructions"]


def test_the_kept_counts_are_those_that_are_counted() -> None:
    kept = json.loads(instructions.KEPT.read_text())
    assert len(kept["counts"]) == len(instructions._PROGRAMS)
    assert all(number > 0 for number in kept["counts"].values())


def test_without_valgrind_it_says_that_nothing_was_compared() -> None:
    done = subprocess.run(
        [sys.executable, instructions.__file__], env={"PATH": ""}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Instruction counts were not compared: there is no valgrind here")


def test_ratios_are_of_the_same_rounds() -> None:
    assert results.ratio(rows(10, 40, 90), rows(5, 10, 15), "rate") == 4
    others = [{"round": 0, "rate": 5.0}, {"round": 2, "rate": 15.0}]  # a slow one runs in every other round
    assert results.ratio(rows(10, 1_000, 90), others, "rate") == 4


def test_a_goal_is_met_missed_or_not_measured() -> None:
    emit = {"NullHandler": rows(1, 1, name="one"), "ConnectHandler, in memory": rows(1.5, 1.5, name="one")}
    reached = {row.goal.what: row for row in goals.reached({"emit": {"data": emit}, "delivery": None})}
    met = reached["log call in memory, one thread, of NullHandler's"]
    assert met.columns == ("log call in memory, one thread, of NullHandler's", "≤ 1.60 x", "1.50 x", "met")
    emit["ConnectHandler, in memory"] = rows(1.7, 1.7, name="one")
    reached = {row.goal.what: row for row in goals.reached({"emit": {"data": emit}, "delivery": None})}
    assert reached[met.goal.what].verdict == "missed"
    assert reached["log → received, journaled, of the best SDK's rate"].verdict == "not measured"


def test_the_best_sdk_is_that_of_each_round() -> None:
    delivery: dict[str, Any] = {goals.JOURNALED: rows(80, 0, 90)}
    for name in goals.SDKS:
        delivery[name] = delivery[f"{name}, enlarged"] = [{"round": 0, "rate": 1.0}, {"round": 2, "rate": 1.0}]
    delivery["Segment, enlarged"] = [{"round": 0, "rate": 10.0}, {"round": 2, "rate": 9.0}]
    best = next(goal for goal in goals.GOALS if "best SDK" in goal.what)
    assert best.measure(delivery) == 9


def test_the_page_is_made_of_what_is_stored() -> None:
    """A reader finds in docs/performance.md what the results say; the diary may be ahead of it."""
    documents = {stage: results.read(stage) for stage in report.STAGES}
    page = report.page(documents, goals.reached(documents))
    assert report.PAGE.read_text().partition("## Diary")[0] == page.partition("## Diary")[0]
    for chart in report.PAGE.with_suffix("").glob("*.svg"):
        assert f"performance/{chart.name}" in report.PAGE.read_text()


@pytest.mark.parametrize("name", LOCAL)
def test_candidates_take_a_log_call(name: str, sink: Sink, tmp_path: Path) -> None:
    sink.reset()
    log = logging.Logger("bench")
    opened = open_candidate(name, Target(sink.url, tmp_path, True))
    log.addHandler(opened.handler)
    log.info("paid", extra={"collection": COLLECTION, "event": EVENT})
    opened.finish(10)
    assert sink.counts().received == (1 if name.startswith("ConnectHandler") or name == "limit program" else 0)


def measured(measure: str, candidate: str, *more: str) -> Any:
    command = [sys.executable, measuring.__file__, measure, candidate, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_log_call_is_measured_where_nothing_answers(tmp_path: Path) -> None:
    with closing(Silence()) as silence:
        values = measured("call", goals.JOURNALED, silence.url, str(tmp_path), "--events=80")
    assert values.keys() == {"one", "eight", "p999"}
    assert min(values.values()) > 0


def test_delivery_ends_when_the_sink_has_all(sink: Sink, tmp_path: Path) -> None:
    sink.reset()
    values = measured("delivery", goals.IN_MEMORY, sink.url, str(tmp_path), "--events=80")
    assert sink.counts().received == 80
    assert values["began"] < values["logged"]
    assert values["began"] < sink.counts().last


def test_the_sink_tells_events_apart_and_can_be_away(sink: Sink) -> None:
    sink.reset()
    body = f'{{"{COLLECTION}":[{{"type":"{MARK}-1"}},{{"type":"{MARK}-2"}}]}}'.encode()
    for _ in range(2):
        answer = requests.post(f"{sink.url}/events", data=body, timeout=10)
    assert len(answer.json()[COLLECTION]) == 2
    assert sink.counts()[:2] == (4, 2)
    sink.down()
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{sink.url}/events", data=body, timeout=10)
    sink.up()
    sink.reset()
    requests.post(f"{sink.url}/v1/logs", data=body, timeout=10)
    assert sink.counts()[:2] == (2, 2)
