"""This package, at its defaults."""

from __future__ import annotations

from pathlib import Path

from connect_logging import ConnectHandler

from . import ROOMY, Opened, Target


def in_memory(target: Target) -> Opened:
    """Enlarged: for more events than the default buffer holds."""
    max_events = ROOMY if target.is_enlarged else 250_000
    return _open(target.url, max_events=max_events, max_bytes=max_events * 512)


def journaled(target: Target) -> Opened:
    """With a spool in the target's directory."""
    return _open(target.url, spool=target.directory / "spool")


def by_process(target: Target) -> Opened:
    """With a spool in the target's directory, sent by a process of its own."""
    return _open(target.url, spool=target.directory / "spool", sender="process")


def compressed(target: Target) -> Opened:
    """The sink asks for gzip under this address, as our server does under every one."""
    return _open(f"{target.url}/gzip", spool=target.directory / "spool")


def _open(
    url: str,
    *,
    spool: Path | None = None,
    max_events: int = 250_000,
    max_bytes: int = 128 * 2**20,
    sender: str = "thread",
) -> Opened:
    handler = ConnectHandler("p", "k", url, spool=spool, max_events=max_events, max_bytes=max_bytes, sender=sender)

    def finish(seconds: float) -> None:
        handler.flush(seconds)
        handler.close()

    return Opened(handler, finish)
