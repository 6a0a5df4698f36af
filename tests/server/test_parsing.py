"""Queries are read in threads; those that take long one after the other, and never before the others."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from connect_logging.exceptions import InvalidQueryError
from connect_logging.server.parsing import Parsing
from connect_logging.server.query.parser import MAX_LENIENT_LENGTH, parse_query


def test_json5_is_read_one_at_a_time_and_strict_json_beside_it() -> None:
    parsing, held, reading = Parsing(), threading.Event(), 0
    most, read = 0, list[str]()

    def parse(document: str, _: float) -> None:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        if document != "{}":
            assert held.wait(10)
        reading -= 1
        read.append(document)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            for document in ("{a:1}", "{a:2}", "{a:3}"):
                tasks.start_soon(parsing.run, parse, document, 0.0)
            while not reading:
                await anyio.sleep(0.001)
            await parsing.run(parse, "{}", 0.0)
            assert read == ["{}"]
            held.set()

    anyio.run(all_of_them)
    assert sorted(read) == ["{a:1}", "{a:2}", "{a:3}", "{}"]
    assert most == 2


@pytest.mark.parametrize("document", [None, b"{a:1}", "[", "{a:1}" + " " * MAX_LENIENT_LENGTH])
def test_what_is_wrong_is_said(document: Any) -> None:
    async def run() -> None:
        await Parsing().run(parse_query, document, 0.0)

    with pytest.raises(InvalidQueryError):
        anyio.run(run)
