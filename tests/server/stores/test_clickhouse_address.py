"""What the option --store may say, and what nobody gets to see of it."""

from __future__ import annotations

import pytest

from connect_logging.exceptions import ConfigurationError
from connect_logging.server.stores.clickhouse_address import parse_address


def test_an_address_is_read_in_all_its_parts() -> None:
    address = parse_address("clickhouses://me%40x:s%3Acret@ch.example:9440/my_events?cluster=main&ca=/etc/ca.pem")
    assert (address.scheme, address.host, address.port) == ("clickhouses", "ch.example", 9440)
    assert (address.user, address.password, address.database) == ("me@x", "s:cret", "my_events")
    assert (address.cluster, address.ca, address.path) == ("main", "/etc/ca.pem", None)


def test_what_is_left_out_is_the_usual() -> None:
    plain, secure = parse_address("clickhouse://h"), parse_address("clickhouses://[::1]/")
    assert (plain.port, plain.user, plain.password, plain.database, plain.cluster) == (
        8123,
        "default",
        "",
        "default",
        None,
    )
    assert (secure.host, secure.port) == ("::1", 8443)
    assert str(secure) == "clickhouses://default@[::1]:8443/default"


def test_a_password_is_taken_where_the_address_has_none_and_never_shown() -> None:
    assert parse_address("clickhouse://me@h/d", "hidden").password == "hidden"
    address = parse_address("clickhouse://me:secret@h/d?cluster=c", "hidden")
    assert address.password == "secret"
    assert str(address) == "clickhouse://me@h:8123/d?cluster=c"
    assert "secret" not in repr(address)
    assert str(parse_address("clickhouse://me%40x%3Ay@h/d")) == "clickhouse://me%40x%3Ay@h:8123/d"


def test_the_engine_of_this_process_has_a_directory() -> None:
    address = parse_address("chdb:///var/lib/events?database=d")
    assert (address.path, address.database, str(address)) == (
        "/var/lib/events",
        "d",
        "chdb:///var/lib/events?database=d",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not an address"),
        ("http://h/secret", "not an address"),
        ("clickhouse://h:99999/secret", "not an address"),
        ("clickhouse://h/d#secret", "not an address"),
        ("clickhouse:///secret", "host is missing"),
        ("clickhouse://me:secret@h/a`b", "name of the database"),
        ("clickhouse://me:secret@h/d?cluster=a'b", "name of the cluster"),
        ("clickhouse://me:secret@h/d?ca=/x", "takes the options cluster and no others"),
        ("clickhouse://me:secret@h/d?cluster=a&cluster=b", "twice"),
        ("clickhouse://me:secret@h/d?cluster", "not an address"),
        ("chdb://secret", "absolute path"),
        ("chdb:///?database=secret", "absolute path"),
    ],
)
def test_what_is_wrong_is_told_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)
