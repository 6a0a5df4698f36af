"""Sentry's logs, by its logging integration, which is on by default.

It patches ``logging.Logger``; the handler here does nothing. The limit of 1,000 waiting logs is a constant, not an
option: enlarged, it is set.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import sentry_sdk
from sentry_sdk._log_batcher import LogBatcher

from . import ROOMY, Opened, Target


def logs(target: Target) -> Opened:
    """``enable_logs``, and nothing else."""
    dsn = f"http://key@{urlsplit(target.url).netloc}/1"
    if target.is_enlarged:
        LogBatcher.MAX_BEFORE_DROP = ROOMY
        sentry_sdk.init(dsn=dsn, enable_logs=True, transport_queue_size=ROOMY)
    else:
        sentry_sdk.init(dsn=dsn, enable_logs=True)

    def finish(seconds: float) -> None:
        sentry_sdk.flush(timeout=seconds)

    return Opened(logging.NullHandler(), finish)
