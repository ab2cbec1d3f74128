"""How long opening a model may wait for what others run: one allowance of time for the whole of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SECONDS = 45.0  # that all waiting while a model is opened may take

_left: ContextVar[float | None] = ContextVar("seconds that opening may still wait", default=None)


@contextmanager
def opening() -> Iterator[None]:
    """Let everything that `waiting` times within share SECONDS."""
    token = _left.set(SECONDS)
    try:
        yield
    finally:
        _left.reset(token)


def seconds_left() -> float | None:
    """Return the seconds that are left, None while no model is being opened."""
    return _left.get()


@contextmanager
def waiting() -> Iterator[None]:
    """Take the time that passes off what is left."""
    begun = time.monotonic()
    try:
        yield
    finally:
        left = _left.get()
        if left is not None:
            _left.set(left - (time.monotonic() - begun))
