"""An endpoint that is away for a day: memory stays, everything arrives. Row 36: those who come back, do it apart."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from conftest import Serve
from oracle import Oracle
from pushing import MakePusher, balanced
from spooling import LONG, Program, ended, segments

from connect_logging._retry import Outage, RetryPolicy
from connect_logging._types import Answer, AnswerKind
from connect_logging.event import Event

EVENTS = 1_000_000 if LONG else 100_000

OUTAGE = """
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

handler = make_handler(flush_interval=1.0, timeout=60, exit_timeout=60)
log.info("", extra={"collection": "things", "event": {"n": -1}})
handler.flush(1)
start = most = resident()
began = time.perf_counter()
for number in range(%d):
    event = {"n": number, "customer": {"name": "Tom", "city": "Utrecht"}, "price": 34.95, "items": ["bell", "tyre"]}
    log.info("paid", extra={"collection": "things", "event": event})
    if number %% 10_000 == 0:
        most = max(most, resident())
logged = time.perf_counter() - began
most = max(most, resident())
stats = handler.stats()
say(json.dumps({"start": start, "most": most, "logged": logged, "stats": stats}))
listen()
began = time.perf_counter()
done = False
while not done and time.perf_counter() - began < 400:
    done = handler.flush(0.5)
    most = max(most, resident())
drained = time.perf_counter() - began
say(json.dumps({"done": done, "most": most, "drained": drained, "stats": handler.stats()}))
"""


def test_an_outage_costs_disk_and_not_memory(serve: Serve, tmp_path: Path, figure: Any) -> None:
    server, spool = serve(), tmp_path / "spool"
    server.kill()
    key = server.keys["push"]
    program = Program(
        OUTAGE % EVENTS, tmp_path, spool, server.url, api_key=key, project_id=server.project_id, lives=500
    )
    with ended(program):
        said = program.hear()
        assert said, program.err
        down = json.loads(said)
        assert down["stats"]["pending"] == EVENTS + 1
        assert (down["stats"]["unjournaled"], down["stats"]["dropped"]) == (0, {})
        server.restart()
        program.tell("it is back")
        back = json.loads(program.hear())
        assert program.wait() == 0
    assert back["done"]
    assert balanced(back["stats"])
    assert back["stats"]["delivered"] + back["stats"]["duplicate"] == EVENTS + 1
    query = {"select": {"n": "count", "least": {"min": "n"}, "most": {"max": "n"}, "sum": {"sum": "n"}}}
    [stored] = server.query("things", query)
    assert stored == {"n": EVENTS + 1, "least": -1, "most": EVENTS - 1, "sum": EVENTS * (EVENTS - 1) // 2 - 1}
    assert segments(spool) == []
    grown = max(down["most"], back["most"]) - down["start"]
    assert grown < 64
    figure(
        "day",
        f"{EVENTS:,} events while the endpoint was down, {down['stats']['spool_bytes'] / 1e6:.0f} MB of spool:"
        f" RSS grew by {down['most'] - down['start']:.1f} MB, by {grown:.1f} MB until all was sent;"
        f" {down['logged'] / EVENTS * 1e6:.1f} µs a call, drained at {EVENTS / back['drained']:,.0f} events/s; lost 0",
    )


def returns(policy: RetryPolicy, outage: float) -> float:
    """When a client that lost its server at 0 first asks again after ``outage`` seconds; on the clock of numbers."""
    machine, now = Outage(policy), 0.0
    while now < outage:
        assert machine.failed(Answer(AnswerKind.UNAVAILABLE, 503, ""), now)
        now = machine.not_before
    return now


def test_row_36_jitter_spreads_a_thousand_clients(figure: Any) -> None:
    """As of the moment at which the server is back: in how many requests of the busiest second, and of the mean."""
    clients, outage = 1_000, 600.0
    policy = RetryPolicy(uniform=random.Random(36).uniform)
    moments = [returns(policy, outage) - outage for _ in range(clients)]
    per_second = Counter(int(moment) for moment in moments)
    span = policy.cap
    assert max(moments) < span
    ratio = max(per_second.values()) / (clients / span)
    assert ratio < 3
    assert len(per_second) > span * 0.8
    spread = f"peak/mean a second {ratio:.1f}, within {max(moments):.0f} s"
    figure("36", f"{clients:,} clients after {outage:.0f} s: {spread}")


def test_row_36_clients_that_fail_together_do_not_stay_together(
    oracle: Oracle, make_pusher: MakePusher, figure: Any
) -> None:
    """Real pushers and a real server, which is away from one moment to another."""
    clients, cap = 40, 1.0
    oracle.refuse()
    pushers = [make_pusher(retry=RetryPolicy(base=cap, cap=cap)) for _ in range(clients)]
    for number, pusher in enumerate(pushers):
        pusher.submit(Event("things", b'{"id":%d}' % number))
    tried = threading.Event()
    while any(pusher.stats()["requests"] < 3 for pusher in pushers):
        tried.wait(0.01)
    oracle.listen()
    began = time.monotonic()
    oracle.wait_for(lambda oracle: len(oracle.stored) == clients)
    moments = [request.at - began for request in oracle.requests]
    tenths = Counter(int(moment / cap * 10) for moment in moments)
    ratio = max(tenths.values()) / (clients / 10)
    assert ratio < 5
    assert oracle.duplicates == 0
    figure("36", f"{clients} real clients: peak/mean a tenth of the step {ratio:.1f}, within {max(moments):.2f} s")
