"""What is named in a path."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from connect_logging.server.answers import RefusedFieldsError
from connect_logging.server.parameters import collection_of


def request(collection: str) -> Request:
    return Request({"type": "http", "headers": [], "path_params": {"collection": collection}})


def test_a_valid_name_is_the_collection() -> None:
    assert collection_of(request("purchases of today")) == "purchases of today"


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\x00", "ﬁ", "errorMessage", "x" * 256])
def test_anything_else_is_refused_by_field(name: str) -> None:
    with pytest.raises(RefusedFieldsError) as caught:
        collection_of(request(name))
    assert list(caught.value.errors) == ["collection"]
