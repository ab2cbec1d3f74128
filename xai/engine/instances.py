"""A list of verification problems, several at once, each in a process that may die without the others."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from xai.engine.deciding import TIMEOUT, Deciding
from xai.engine.facts import versions
from xai.engine.shards import Kept, work_off
from xai.errors import XaiError, lacks_memory
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.instances import Instance

GRACE = 60.0  # seconds more, after which a process that does not answer is ended
ERROR = "error"


@dataclass(frozen=True)
class Solved:
    """What became of a problem of a list.

    Args:
        row: in the list.
        onnx: file name of the network.
        vnnlib: file name of the property.
        expected: what the list says, "" if nothing.
        word: sat, unsat, unknown, timeout or error.
        seconds: of the search, without loading.
        by: what decided it.
        parts: of the region that were bounded.
        told: why it is not decided, what went wrong, or who confirmed a counterexample.
        counterexample: in VNN-LIB's form, or "".
    """

    row: int
    onnx: str
    vnnlib: str
    expected: str
    word: str
    seconds: float
    by: str = ""
    parts: int = 0
    told: str = ""
    counterexample: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it says the opposite of what the list expects."""
        return {self.word, self.expected} == {"sat", "unsat"}


@dataclass(frozen=True)
class Asked:
    """What holds for every problem of a list.

    Args:
        seconds: for each, before what the list says; None for the list's own.
        arithmetic: of the network that "unsat" is about.
        seed: of everything random.
        device: that the networks run on.
    """

    seconds: float | None = None
    arithmetic: Arithmetic = Arithmetic.REAL
    seed: int = 0
    device: str = "cpu"


def solve(
    instances: Sequence[Instance],
    asked: Asked,
    *,
    jobs: int,
    threads: int,
    folder: Path | None = None,
    tell: Callable[[Solved, int], None] = lambda *_: None,
) -> list[Solved]:
    """Return what became of every problem, in the list's order.

    Args:
        instances: the problems.
        asked: what holds for each.
        jobs: how many at once.
        threads: that each may use.
        folder: keeps what is done, so that a killed run goes on; None for memory.
        tell: is told of each that is done, and how many are.
    """
    kept = Kept(folder, _digest(instances, asked))
    workers = [_Worker(asked, threads) for _ in range(jobs)]
    free = list(workers)

    def one(place: int, check: Callable[[], None]) -> dict[str, Any]:
        worker = free.pop()
        try:
            return asdict(worker.solve(instances[place], check))
        finally:
            free.append(worker)

    try:
        for done, place in enumerate(work_off(range(len(instances)), one, kept, jobs=jobs, threads=1), 1):
            tell(Solved(**kept[place]), done)
    finally:
        for worker in workers:
            worker.end()
    return [Solved(**kept[place]) for place in range(len(instances))]


class _Worker:
    """A process that solves one problem after another."""

    def __init__(self, asked: Asked, threads: int) -> None:
        self._asked, self._threads = asked, threads
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None

    def solve(self, instance: Instance, check: Callable[[], None]) -> Solved:
        seconds = self._asked.seconds or instance.timeout or TIMEOUT
        begun = time.monotonic()
        try:
            pipe = self._begun()
            pipe.send((instance, seconds))
            while not pipe.poll(1):
                check()
                if time.monotonic() - begun > seconds + GRACE:
                    self.end()
                    return _failed(instance, "timeout", time.monotonic() - begun, "it had to be ended")
            found: Solved = pipe.recv()
        except (EOFError, OSError):
            code = None if self._process is None else self._process.exitcode
            self.end()
            why = f"its process died (exit code {code}), of too little memory perhaps"
            return _failed(instance, ERROR, time.monotonic() - begun, why)
        return found

    def _begun(self) -> Connection[Any, Any]:
        """Return the way to the process, which is begun if there is none."""
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other, self._asked, self._threads), daemon=True)
            self._process.start()
            other.close()
        return self._pipe

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection[Any, Any], asked: Asked, threads: int) -> None:
    """Solve what comes through the pipe until it is closed."""
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            instance, seconds = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        pipe.send(_solved(instance, seconds, asked))


def _solved(instance: Instance, seconds: float, asked: Asked) -> Solved:
    from xai.engine.vnnlib import answer
    from xai.models.loading import load
    from xai.runtime import resolve_device

    begun = time.monotonic()
    try:
        model = load(str(instance.onnx), device=resolve_device(asked.device), seed=asked.seed)
        found = answer(Deciding(model, asked.arithmetic, seconds), instance.vnnlib, asked.seed)
    except XaiError as error:
        return _failed(instance, ERROR, time.monotonic() - begun, str(error))
    except (MemoryError, RuntimeError) as error:
        why = "it does not fit memory" if lacks_memory(error) else " ".join(str(error).split())[:200]
        return _failed(instance, ERROR, time.monotonic() - begun, why)
    outcome = found.outcome
    told = "; ".join(part for part in (outcome.reason, *found.notes) if part)
    return Solved(
        instance.row,
        instance.onnx.name,
        instance.vnnlib.name,
        instance.expected,
        found.word,
        round(outcome.seconds, 3),
        outcome.by,
        outcome.parts,
        told,
        found.counterexample,
    )


def _failed(instance: Instance, word: str, seconds: float, why: str) -> Solved:
    names = instance.row, instance.onnx.name, instance.vnnlib.name, instance.expected
    return Solved(*names, word, round(seconds, 3), told=why)


def _digest(instances: Sequence[Instance], asked: Asked) -> str:
    """Return a digest of what is asked, the files' contents included."""
    files = {file for one in instances for file in (one.onnx, one.vnnlib)}
    contents = {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
    text = json.dumps([[asdict(one) for one in instances], asdict(asked), contents, versions()], default=str)
    return hashlib.sha256(text.encode()).hexdigest()
