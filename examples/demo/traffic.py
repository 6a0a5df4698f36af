"""Customers: threads that send real requests to the shop and write down what it answered, which is the truth."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from random import Random
from threading import Condition, Thread
from typing import Any, Final

import requests

from .processes import DemoError

_PRODUCTS: Final = ("helmet", "jersey", "bell", "saddle", "pump")
_NAMES: Final = ("Ann", "Tom", "Zoë", "Иван", "美咲")
_COUNTRIES: Final = ("AU", "DE", "JP", "US")
_TIMEOUT: Final = 20.0
"""Seconds for one request."""


@dataclass
class Truth:
    """What happened in the shop, seen from outside."""

    statuses: Counter[int] = field(default_factory=Counter)
    durations: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    orders: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    revenue: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By product. The prices are quarters, so that floats add up exactly in any order."""

    def add(self, response: requests.Response, path: str, quantity: int) -> None:
        """Write down one answer."""
        self.statuses[response.status_code] += 1
        self.durations[path].append(float(response.headers["Server-Timing"].partition("dur=")[2]))
        if response.status_code == 201:
            sold = response.json()
            self.orders[sold["product"]] += 1
            self.units[sold["product"]] += quantity
            self.revenue[sold["product"]] += sold["total"]


class Customers:
    """``threads`` customers, who send ``requests`` in all to the shop at ``url``; ``seed`` decides what they do."""

    def __init__(self, url: str, requests: int, threads: int, seed: int = 1) -> None:
        self.truth = Truth()
        self.done = 0
        self._url = url
        self._requests = requests
        self._left = count()
        self._changed = Condition()
        self._failure: str | None = None
        self._threads = [Thread(target=self._shop, args=(Random(f"{seed} {n}"),)) for n in range(threads)]

    def start(self) -> None:
        """Open the doors."""
        for thread in self._threads:
            thread.start()

    def wait_for(self, done: int, timeout: float) -> bool:
        """Wait until so many requests are answered; False after ``timeout`` seconds. Raises DemoError."""
        with self._changed:
            self._changed.wait_for(lambda: self.done >= done or self._failure is not None, timeout)
            if self._failure is not None:
                raise DemoError(f"the shop failed a customer: {self._failure}")
            return self.done >= done

    def stop(self) -> None:
        """Send them home. May be called again."""
        self._requests = 0
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _shop(self, random: Random) -> None:
        try:
            with requests.Session() as session:
                while next(self._left) < self._requests:
                    self._visit(session, random)
        except (requests.RequestException, KeyError, ValueError) as error:
            with self._changed:
                self._failure = f"{type(error).__name__}: {error}"
                self._changed.notify_all()

    def _visit(self, session: requests.Session, random: Random) -> None:
        path, order = _choose(random)
        method = "GET" if order is None else "POST"
        response = session.request(method, self._url + path, json=order, timeout=_TIMEOUT)
        with self._changed:
            self.truth.add(response, path, order["quantity"] if order else 0)
            self.done += 1
            self._changed.notify_all()


def _choose(random: Random) -> tuple[str, dict[str, Any] | None]:
    """What a customer does next: a path, and the order where it is a purchase."""
    product = random.choice(_PRODUCTS)
    dice = random.random()
    if dice < 0.25:
        return "/products", None
    if dice < 0.70:
        return f"/products/{product}", None
    if dice < 0.75:
        return "/products/unicycle", None  # is not sold here
    customer = {"firstName": random.choice(_NAMES), "country": random.choice(_COUNTRIES)}
    return "/purchases", {"product": product, "quantity": random.randint(1, 5), "customer": customer}
