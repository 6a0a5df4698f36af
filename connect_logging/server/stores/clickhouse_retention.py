"""How long the tables of a ClickHouse store keep events: a TTL, which merges heed.

ClickHouse deletes what is past its time when it merges parts, for that purpose every four hours at the latest. The last
server that was started decides, so all are started with the same option. A TTL of another form than ours was made by
somebody else: it stays as long as no option says otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from .clickhouse_connection import ClickHouse
from .clickhouse_tables import Tables

_TTL: Final = "fromUnixTimestamp64Micro(timestamp) + toIntervalDay({})"
_OURS: Final = re.compile(re.escape(_TTL).replace(r"\{\}", r"(\d+)"))


def keep(database: ClickHouse, tables: Tables, days: int | None) -> None:
    """Have events deleted ``days`` after their timestamp, or not at all. Raises StoreError."""
    [(definition,)] = database.rows(
        "the retention could not be read",
        "SELECT create_table_query FROM system.tables WHERE concat('`', database, '`.', name) = {table:String}",
        {"table": tables.stored},
    )
    found = _OURS.search(definition)
    if days == (int(found[1]) if found else None):
        return
    change = "REMOVE TTL" if days is None else f"MODIFY TTL {_TTL.format(days)}"
    database.run("the retention could not be changed", f"ALTER TABLE {tables.stored}{tables.on_cluster} {change}")
