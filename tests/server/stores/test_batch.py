"""Events by column are the same events."""

from __future__ import annotations

import pytest

from connect_logging.server.stores.base import NewEvent
from connect_logging.server.stores.batch import Batch, Shape

EVENTS = [NewEvent(f"id {number}", number, b'{"n":%d}' % number) for number in range(4)]
SHAPE: Shape = (("n", "whole"),)


def with_shape(shape: Shape | None, first: int = 0, end: int = 4) -> Batch:
    events = Batch.of(EVENTS[first:end])
    return Batch(events.ids, events.timestamps, events.lines, shape)


def test_a_batch_is_a_sequence_of_its_events() -> None:
    batch = Batch.of(EVENTS)
    assert (len(batch), [*batch], batch[1], batch[-1], [*batch[1:3]]) == (4, EVENTS, EVENTS[1], EVENTS[3], EVENTS[1:3])
    assert (Batch.of(batch), len(Batch.of([])), [*Batch.of([])]) == (batch, 0, [])
    assert EVENTS[2] in batch


def test_a_part_has_the_shape_of_the_whole() -> None:
    batch = with_shape(SHAPE)
    assert (batch[2:].shape, batch.chosen([True, False, False, True]).shape) == (SHAPE, SHAPE)
    assert [*batch.chosen([True, False, False, True])] == [EVENTS[0], EVENTS[3]]
    assert batch.chosen([True] * 4) is batch


@pytest.mark.parametrize(
    ("shapes", "joint"),
    [([SHAPE], SHAPE), ([SHAPE, SHAPE], SHAPE), ([SHAPE, None], None), ([None], None), ([None, None], None),
     ([SHAPE, (("n", "fraction"),)], None)],
)  # fmt: skip
def test_batches_that_are_joined_have_a_shape_where_all_have_the_same(
    shapes: list[Shape | None], joint: Shape | None
) -> None:
    batches = [with_shape(shape, first, first + 1) for first, shape in enumerate(shapes)]
    joined = Batch.joined(batches)
    assert ([*joined], joined.shape) == (EVENTS[: len(shapes)], joint)
