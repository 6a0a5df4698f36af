"""Settings are checked when they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connect_logging.exceptions import ConfigurationError
from connect_logging.server.settings import Settings, split_address


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("port", -1),
        ("port", 65_536),
        ("host", ""),
        ("threads", 0),
        ("concurrent_queries", 0),
        ("max_body_bytes", 0),
        ("max_bodies_bytes", 0),
        ("max_waiting_bytes", 0),
        ("stop_timeout", -1),
        ("query_timeout", 0.0),
        ("query_timeout", float("nan")),
        ("client_timeout", -1.0),
        ("max_connections", 0),
        ("memory_limit", "lots"),
        ("failed_keys_per_minute", 0),
        ("trusted_proxies", ("10.0.0.1", "proxy.example")),
        ("trusted_proxies", ("10.0.0.1/8",)),
        ("memory_limit", "1GB; DROP TABLE x"),
        ("tls_cert", Path("cert.pem")),
        ("tls_key", Path("key.pem")),
        ("metrics", "127.0.0.1"),
        ("metrics", "127.0.0.1:65536"),
        ("metrics", "::1:9100"),
        ("metrics", ":9100"),
        ("access_log", ""),
        ("retention", 0),
        ("retention", 36_501),
    ],
)
def test_a_value_that_cannot_work_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        Settings(Path("data"), **{option: value})


def test_an_address_is_read() -> None:
    assert split_address("localhost:9100") == ("localhost", 9100)
    assert split_address("[::1]:0") == ("::1", 0)


def test_the_defaults_work() -> None:
    assert Settings(Path("data")).host == "127.0.0.1"
