"""What the command line says to a person: on stderr, one line each, free of control characters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xai.reports.text import visible

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
    """Give a progress bar on stderr; a silent one where stderr is no terminal."""
    if not sys.stderr.isatty():
        from xai.runtime import silent

        yield silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(stage: str, done: int, total: int) -> None:
            bar.update(task, description=escape(plain(stage)), completed=done, total=total)

        yield tell
