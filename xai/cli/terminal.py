"""What the command line says to a person: on stderr, one line each, free of control characters."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xai.text import visible

if TYPE_CHECKING:
    from xai.runtime import Progress


def plain(text: str) -> str:
    """Return a text in one line, without the control characters that a hostile name could hold."""
    return visible(" ".join(text.split()))


def say(text: str) -> None:
    """Write one line to stderr."""
    print(plain(text), file=sys.stderr, flush=True)  # noqa: T201  # the one place that prints to people


@contextmanager
def progress() -> Iterator[Progress]:
    """Give a progress bar on stderr, a silent one where stderr is no terminal; either stops the work after Ctrl-C.

    A KeyboardInterrupt that is raised within a destructor is lost: it is remembered, and raised again at the next step.
    """
    with _remembering_interrupts() as check, _bar() as tell:

        def step(stage: str, done: int, total: int) -> None:
            check()
            tell(plain(stage), done, total)

        yield step


@contextmanager
def _remembering_interrupts() -> Iterator[Callable[[], None]]:
    interrupted = False

    def remember(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield check
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar() -> Iterator[Progress]:
    if not sys.stderr.isatty():
        from xai.runtime import silent

        yield silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda stage, done, total: bar.update(task, description=escape(stage), completed=done, total=total)
