"""ClickHouse's own engine in the process of the tests: it takes one directory, and any number of databases in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse


@contextmanager
def fresh_database(directory: Path) -> Iterator[ClickHouseAddress]:
    """The address of a database that is not there yet, and is gone afterwards."""
    name = f"t{secrets.token_hex(6)}"
    address = parse_address(f"chdb://{directory}?database={name}")
    yield address
    with closing(ClickHouse(address)) as database:
        database.run("the database is still there", f"DROP DATABASE IF EXISTS `{name}` SYNC")
