"""What an object does when its process forks, for as long as it lives."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import TypeVar

Owner = TypeVar("Owner")


def at_forks(
    owner: Owner,
    before: Callable[[Owner], object],
    after_in_parent: Callable[[Owner], object],
    after_in_child: Callable[[Owner], object],
) -> None:
    """Call these with ``owner`` around each fork. They live as long as the process, and do not keep it alive."""
    this = weakref.ref(owner)

    def hook(method: Callable[[Owner], object]) -> Callable[[], None]:
        def call() -> None:
            if (alive := this()) is not None:
                method(alive)

        return call

    os.register_at_fork(before=hook(before), after_in_parent=hook(after_in_parent), after_in_child=hook(after_in_child))
