"""Responses show an event as it was sent, and cannot be changed."""

from __future__ import annotations

import dataclasses

import pytest

from connect_logging.event import Event
from connect_logging.responses import PushBatchResponse, PushResponse

RESPONSE = PushResponse(True, None, 200, Event("purchases", b'{"id":"1","price":34.95}'))


def test_the_event_is_a_new_dict_each_time() -> None:
    RESPONSE.event["price"] = 0
    assert RESPONSE.event == {"id": "1", "price": 34.95}


def test_the_repr_leaves_the_event_out() -> None:
    """It may be 64 kB, and its content is nobody's business in a log."""
    assert repr(RESPONSE) == "PushResponse(success=True, error_message=None, http_status_code=200)"


@pytest.mark.parametrize("response", [RESPONSE, PushBatchResponse(True, None, 200, {"purchases": [RESPONSE]})])
def test_responses_are_frozen(response: PushResponse | PushBatchResponse) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        response.success = False  # type: ignore[misc]
