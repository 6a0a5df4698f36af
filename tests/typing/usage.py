"""What a program of a user does, as mypy --strict sees it. A line that must be an error says so: ``# E: code``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, assert_type

import polars

from connect_logging import (
    Collection,
    ConnectClient,
    ConnectHandler,
    ImportResult,
    PushBatchResponse,
    PushResponse,
    QueryResponse,
)
from connect_logging.query import (
    Condition,
    Export,
    Filter,
    Query,
    all_of,
    any_of,
    contains,
    count,
    current,
    desc,
    exists,
    gt,
    is_in,
    last,
    lte,
    percentile,
    starts_with,
    sum,
)

client = ConnectClient("project", "key", "https://connect.example.com", timeout=5)

# Pushes
assert_type(client.push_event("purchases", {"price": 34.95}), Future[PushResponse])
assert_type(client.push_events({"purchases": [{"price": 34.95}]}), Future[PushBatchResponse])
client.push_event("purchases", "price")  # E: arg-type
client.push_events([{"price": 34.95}])  # E: arg-type
ConnectHandler(flush_events="many")  # E: arg-type
ConnectHandler(flush_every=5)  # E: arg-type
ConnectClient(timeout=None)  # E: arg-type

# Queries
purchases = client.query("purchases")
assert_type(purchases, Query)
assert_type(purchases.select(revenue=sum("price"), n=count()).select({"p 95": percentile("price", 95)}), Query)
assert_type(purchases.where(country="AU", price=gt(5) & lte(10), tags=["a", "b"], gone=None), Query)
assert_type(purchases.where({"customer.country": "AU"}, any_of(a=1, b=2.5) | all_of(c=True)), Query)
assert_type(purchases.group_by("country", "product").order_by(desc("n"), "country").limit(10), Query)
assert_type(purchases.timeframe("this_month").interval("daily", non_empty=True).timezone("Australia/Brisbane"), Query)
assert_type(purchases.timeframe(last(3).days).timezone(10.5), Query)
assert_type(purchases.timeframe(current(1).quarters), Query)
assert_type(purchases.timeframe(datetime(2026, 1, 1), datetime(2026, 2, 1, tzinfo=UTC)), Query)
assert_type(purchases.timeframe(end=datetime(2026, 2, 1)), Query)
assert_type(client.query("purchases", {"select": {"n": "count"}}), Query)
assert_type(gt(5), Condition)
assert_type(any_of(a=1), Filter)

client.query(5)  # E: arg-type
purchases.select(n="count")  # E: arg-type
purchases.select(n=sum())  # E: call-arg
purchases.select(n=sum(5))  # E: arg-type
purchases.select(p=percentile("price"))  # E: call-arg
purchases.where(price=gt(None))  # E: arg-type
purchases.where(price=datetime(2026, 1, 1))  # E: arg-type
purchases.where(price={1, 2})  # E: arg-type
purchases.where("country")  # E: arg-type
purchases.where(product=starts_with(5))  # E: arg-type
purchases.where(product=contains(None))  # E: arg-type
purchases.where(product=is_in(5))  # E: arg-type
purchases.where(product=exists("yes"))  # E: arg-type
purchases.where(price=gt(5) & 10)  # E: operator
purchases.group_by(5)  # E: arg-type
purchases.interval("dayly")  # E: arg-type
purchases.timezone(None)  # E: arg-type
purchases.timeframe("this_day")  # E: call-overload
purchases.timeframe("today", datetime(2026, 1, 1))  # E: call-overload
purchases.timeframe(date(2026, 1, 1))  # E: call-overload
purchases.timeframe(last(3))  # E: call-overload
purchases.timeframe(last("3").days)  # E: arg-type
purchases.order_by(count())  # E: arg-type
purchases.limit("10")  # E: arg-type
purchases.collection = "refunds"  # E: misc
purchases.having(n=gt(5))  # E: attr-defined

# Answers
response = purchases.execute(timeout=5)
assert_type(response, QueryResponse)
assert_type(response[0], dict[str, Any])
assert_type(list(response), list[dict[str, Any]])
assert_type(response.columns, tuple[str, ...])
assert_type(response.to_polars(), polars.DataFrame)
purchases.execute("5")  # E: arg-type
response.columns = ()  # E: misc


async def ask() -> int:
    assert_type(await purchases.execute_async(), QueryResponse)
    assert purchases.execute_async().columns  # E: attr-defined
    return len(await purchases.execute_async())


# Exports, imports, collections
export = client.export("purchases").where(country="AU").timeframe("today")
assert_type(export, Export)
assert_type(iter(export), Iterator[dict[str, Any]])
assert_type(export.to_file("purchases.csv", progress=print), int)
assert_type(export.to_file(Path("purchases"), "parquet"), int)
assert_type(client.import_events("purchases.jsonl", "purchases"), ImportResult)
assert_type(client.import_events([{"price": 34.95}], "purchases", progress=print), ImportResult)
assert_type(client.collections(), list[Collection])
assert_type(client.collection("purchases").properties["country"], tuple[str, ...])
client.export("purchases").select(n=count())  # E: attr-defined
client.export("purchases").to_file("purchases", "xml")  # E: arg-type
client.import_events(5, "purchases")  # E: arg-type
client.import_events([5], "purchases")  # E: list-item
client.delete_collection(["purchases"])  # E: arg-type
