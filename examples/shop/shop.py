"""A small web shop that logs what happens in it as events. How to run it: README.md, beside this file.

Nothing here says where the events go: that is in logging.json. A log call with a ``collection`` in ``extra`` is an
event; all others are just logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connect_logging import ConnectHandler

access = logging.getLogger("shop.access")
sales = logging.getLogger("shop.sales")


class Product(NamedTuple):
    """``photo_time``: seconds that its page waits for a photo, on purpose."""

    name: str
    category: str
    price: float
    photo_time: float = 0.0


PRODUCTS = {
    "helmet": Product("Helmet", "clothes", 64.50),
    "jersey": Product("Jersey", "clothes", 34.75, photo_time=0.02),
    "bell": Product("Bell", "parts", 7.25),
    "saddle": Product("Saddle", "parts", 42.00, photo_time=0.005),
    "pump": Product("Pump", "tools", 19.25),
}


async def list_products(_: Request) -> Response:
    """What there is, and for how much."""
    return JSONResponse({key: product.price for key, product in PRODUCTS.items()})


async def show_product(request: Request) -> Response:
    """One product; some have a large photo."""
    product = PRODUCTS.get(request.path_params["key"])
    if product is None:
        return JSONResponse({"error": "there is no such product"}, 404)
    await asyncio.sleep(product.photo_time)
    return JSONResponse({"name": product.name, "category": product.category, "price": product.price})


async def buy(request: Request) -> Response:
    """Take ``{"product": "bell", "quantity": 2, "customer": {"firstName": "Tom", "country": "AU"}}``."""
    try:
        order = await request.json()
        product, quantity, customer = PRODUCTS[order["product"]], int(order["quantity"]), dict(order["customer"])
    except (ValueError, KeyError, TypeError):
        return JSONResponse({"error": "an order has a product, a quantity and a customer"}, 422)
    total = product.price * quantity
    purchase = {
        "customer": customer,
        "product": {"name": product.name, "category": product.category, "price": product.price},
        "quantity": quantity,
        "total": total,
    }
    sales.info("sold %d of %s", quantity, product.name, extra={"collection": "purchases", "event": purchase})
    return JSONResponse({"product": product.name, "total": total}, 201)


async def log_access(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Every request is an event; how long it took is in the answer, too."""
    began = time.perf_counter()
    response = await call_next(request)
    duration = round((time.perf_counter() - began) * 1000, 3)
    method, path, status = request.method, request.url.path, response.status_code
    request_event = {"method": method, "path": path, "status": status, "duration": duration}
    access.info("%s %s %d", method, path, status, extra={"collection": "access", "event": request_event})
    response.headers["Server-Timing"] = f"app;dur={duration}"
    return response


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Send the last events before the shop closes: uvicorn lets SIGTERM end the process right after this."""
    yield
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ConnectHandler):
            handler.flush(timeout=10)
            logging.getLogger("shop").info("events: %s", json.dumps(handler.stats()))


app = Starlette(
    routes=[
        Route("/products", list_products),
        Route("/products/{key}", show_product),
        Route("/purchases", buy, methods=["POST"]),
    ],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=log_access)],
    lifespan=lifespan,
)
