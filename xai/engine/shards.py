"""Work in fixed shards: each is done once, by whichever job comes first, and kept until the whole is done.

A shard's answer depends on nothing but the shard, so the whole is the same whatever the number of jobs, and whether or
not the run was killed in between.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from xai.errors import UsageError

FOLDER = "shards"
_PLAN, _PART = "plan.json", ".part"
Answer = dict[str, Any]


class OtherRunError(UsageError):
    """What is kept in a folder belongs to another run."""

    def __init__(self, folder: Path, differs: str) -> None:
        super().__init__(
            f"{folder} holds the beginning of another run: {differs}; give the same ones, or --overwrite to begin anew"
        )


class Kept:
    """The answers of shards that are done: in memory, or in a folder that outlives a killed run.

    Args:
        folder: where they are kept; None for memory.
        plan: what was asked, in one word; another plan's answers are refused.
    """

    def __init__(self, folder: Path | None, plan: str) -> None:
        self._folder = folder
        self._memory: dict[int, Answer] = {}
        if folder is None:
            return
        folder.mkdir(exist_ok=True)
        if (folder / _PLAN).exists():
            if json.loads((folder / _PLAN).read_text()) != plan:
                raise OtherRunError(folder.parent, "model, data or options differ")
        else:
            keep(folder / _PLAN, json.dumps(plan))

    def __contains__(self, shard: int) -> bool:
        """Say whether a shard is done."""
        return shard in self._memory if self._folder is None else self._file(shard).exists()

    def __setitem__(self, shard: int, answer: Answer) -> None:
        """Keep a shard's answer, all or nothing."""
        if self._folder is None:
            self._memory[shard] = answer
        else:
            keep(self._file(shard), json.dumps(answer))

    def __getitem__(self, shard: int) -> Answer:
        """Return a shard's answer."""
        if self._folder is None:
            return self._memory[shard]
        answer: Answer = json.loads(self._file(shard).read_text())
        return answer

    def begun(self, part: str) -> str | None:
        """Return what was kept of a part of a shard that is not done yet, or None."""
        if self._folder is None:
            return None
        file = self._folder / f"{part}{_PART}"
        return file.read_text() if file.exists() else None

    def begin(self, part: str, text: str) -> None:
        """Keep how far a part of a shard has come, all or nothing; in memory there is nothing to outlive."""
        if self._folder is not None:
            keep(self._folder / f"{part}{_PART}", text)

    def _file(self, shard: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{shard:06}.json"


def keep(file: Path, text: str) -> None:
    """Write a text to a file, all or nothing."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as fresh:
        fresh.write(text)
    os.replace(fresh.name, file)  # noqa: PTH105  # atomic, as Path.replace


def work_off(
    shards: Sequence[int], work: Callable[[int, Callable[[], None]], Answer], kept: Kept, *, jobs: int, threads: int
) -> Iterator[int]:
    """Do every shard that is not done yet, and yield its number when it is.

    Args:
        shards: their numbers.
        work: gives a shard's answer; it calls its second argument often, which ends it when the run is interrupted.
        kept: holds the answers.
        jobs: how many are done at once, each in a thread: torch computes outside of Python's lock.
        threads: that torch uses within one.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise InterruptedError

    def one(shard: int) -> int:
        if torch.get_num_threads() != threads:  # each thread has its own number
            torch.set_num_threads(threads)
        kept[shard] = work(shard, check)
        return shard

    yield from (shard for shard in shards if shard in kept)
    waiting = iter([shard for shard in shards if shard not in kept])
    before = torch.get_num_threads()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        running: set[Future[int]] = set()
        try:
            while True:
                while len(running) < jobs and (shard := next(waiting, None)) is not None:
                    running.add(pool.submit(one, shard))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED, timeout=1)  # Ctrl-C is heard in between
                yield from (future.result() for future in done)
        finally:
            stop.set()
            torch.set_num_threads(before)
