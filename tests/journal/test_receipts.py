"""Receipts: each is found where its event lies, and told once."""

from __future__ import annotations

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
