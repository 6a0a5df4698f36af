"""The demo behind ``connect-logging demo``: real processes, real requests, and a truth to compare with."""

from .run import run

__all__ = ["run"]
