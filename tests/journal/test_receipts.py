"""Receipts: each is found where its event lies, and told once."""

from __future__ import annotations

import itertools

from connect_logging._journal.receipts import Receipts


def nobody(*_: object) -> None: ...


def somebody(*_: object) -> None: ...


def test_a_receipt_is_found_once_where_its_event_lies() -> None:
    receipts = Receipts()
    receipts.keep("a", 32, nobody)
    receipts.keep("b", 32, somebody)
    assert receipts.pop("b", 32) is somebody
    assert receipts.pop("b", 32) is None
    assert receipts.pop("a", 33) is None
    assert receipts
    assert receipts.pop("a", 32) is nobody
    assert not receipts


def test_those_of_what_is_damaged_are_told_and_no_others() -> None:
    receipts = Receipts()
    for start in (10, 20, 30):
        receipts.keep("a", start, somebody)
    receipts.keep("b", 20, nobody)
    receipts.spoil("a", 10, 30)
    assert receipts.pop_damaged() == [somebody, somebody]
    assert receipts.pop_damaged() == []
    assert receipts.pop_kept() == [somebody, nobody]
    assert not receipts


def test_receipts_may_be_kept_while_those_of_damage_are_looked_for() -> None:
    """Pushes keep theirs without a lock."""
    receipts, places = Receipts(), itertools.count()

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            receipts.keep("b", next(places), nobody)
            return str.__eq__(self, other)

    for start in (10, 20):
        receipts.keep("a", start, somebody)
    receipts.spoil(Name("a"), 10, 30)
    assert receipts.pop_damaged() == [somebody, somebody]
    assert set(receipts.pop_kept()) == {nobody}
