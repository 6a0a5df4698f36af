"""Databases of ClickHouse's own engine, each for a test: in this process, or in one of its own and over HTTP.

The engine takes one directory a process, and any number of databases in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse


@contextmanager
def fresh_database(address_of: Callable[[str], str]) -> Iterator[ClickHouseAddress]:
    """The address of a database that is not there yet, and is gone afterwards; ``address_of`` has it by its name."""
    name = f"t{secrets.token_hex(6)}"
    address = parse_address(address_of(name))
    yield address
    with closing(ClickHouse(address)) as database:
        database.run("the database is still there", f"DROP DATABASE IF EXISTS `{name}` SYNC")


def in_process(directory: Path) -> Callable[[str], str]:
    """The addresses of databases in ``directory``, by their names."""
    return lambda name: f"chdb://{directory}?database={name}"
