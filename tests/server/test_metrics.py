"""Metrics: what is counted, under labels that no client chooses."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from connect_logging.server.metrics import Metrics
from connect_logging.server.observing import Exchange
from connect_logging.server.stores.base import Commit

EXCHANGE = Exchange("POST", "/events/{collection}", "/events/x", 200, 0.02, 100, 7, "127.0.0.1", "p1")


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """``(name, label, label, …)``: value. Labels by name."""
    text = metrics.text("")[0].decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = Metrics()
    for exchange in (EXCHANGE, EXCHANGE, EXCHANGE._replace(status=401, received=1)):
        metrics.observe(exchange)
    found = values(metrics)
    assert found["connect_requests_total", "POST", "/events/{collection}", "200"] == 2
    assert found["connect_requests_total", "POST", "/events/{collection}", "401"] == 1
    assert found["connect_request_duration_seconds_count", "POST", "/events/{collection}"] == 3
    assert found["connect_request_duration_seconds_bucket", "0.025", "POST", "/events/{collection}"] == 3
    assert found["connect_received_bytes_total",] == 201
    assert found["connect_sent_bytes_total",] == 21


def test_labels_are_bounded_whatever_clients_send() -> None:
    metrics = Metrics()
    before = len(values(metrics))
    for number in range(50):
        metrics.observe(EXCHANGE._replace(route=None, path=f"/{number}", method=f"M{number}", project=str(number)))
    found = values(metrics)
    assert found["connect_requests_total", "other", "other", "200"] == 50
    assert len(found) - before < 25


def test_events_commits_and_failed_keys_are_counted() -> None:
    metrics = Metrics()
    assert values(metrics)["connect_events_total", "rejected"] == 0, "a series is there before its first event"
    metrics.count_events("stored", 5)
    metrics.count_events("duplicate", 2)
    metrics.observe_commit(Commit(0.003, 4, 5))
    metrics.count_failed_key()
    metrics.count_transfer("import", "failed")
    found = values(metrics)
    assert (found["connect_events_total", "stored"], found["connect_events_total", "duplicate"]) == (5, 2)
    assert found["connect_commit_requests_bucket", "5.0"] == 1
    assert found["connect_commit_duration_seconds_sum",] == 0.003
    assert found["connect_commit_events_total",] == 5
    assert found["connect_failed_keys_total",] == 1
    assert found["connect_transfers_total", "import", "failed"] == 1
    assert found["connect_transfers_total", "export", "complete"] == 0


def test_a_watched_figure_is_read_when_it_is_asked_for() -> None:
    metrics = Metrics()
    figure = [1.0]
    metrics.watch("thing", "A thing.", lambda: figure[0])
    figure[0] = 7
    assert values(metrics)["connect_thing",] == 7


def test_both_formats_can_be_parsed_and_tell_the_build() -> None:
    metrics = Metrics()
    text, media_type = metrics.text("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(text.decode())}
    assert {"connect_build", "connect_events", "process_cpu_seconds"} <= families
    assert metrics.text("*/*")[1].startswith("text/plain; version=0.0.4")
    assert not [name for name, *_ in values(metrics) if name.endswith("_created")]
