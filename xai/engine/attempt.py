"""Run one method or measure; whatever happens becomes data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from xai.errors import NotApplicableError, UsageError, XaiError
from xai.reports.records import Status

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """What came of it.

    Args:
        status: "ok", "skipped" (does not apply) or "failed".
        answer: if it is ok.
        reason: why it was skipped or failed, "" otherwise.
        seconds: it took.
    """

    status: Status
    answer: T | None
    reason: str
    seconds: float


def attempt(name: str, work: Callable[[], T]) -> Attempt[T]:
    """Do the work; a UsageError is the user's to hear and passes through."""
    begun = time.perf_counter()
    try:
        answer = work()
    except UsageError:
        raise
    except NotApplicableError as error:
        return Attempt("skipped", None, str(error), time.perf_counter() - begun)
    except XaiError as error:
        return Attempt("failed", None, str(error), time.perf_counter() - begun)
    except Exception as error:
        log.exception("%s failed", name)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Attempt("failed", None, reason, time.perf_counter() - begun)
    return Attempt("ok", answer, "", time.perf_counter() - begun)
