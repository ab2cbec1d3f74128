"""Verification problems beside Marabou (maraboupy): the same files, the same time, alternately, a thread each on a CPU.

Needs XAI_DATA. Of the problems of ACAS Xu and MNIST whose verdict is known every fourth, so that all networks and
properties have their share. Both are asked as a user asks them, by a command on the network's and the property's file;
seconds are those of the whole command, from its start to its answer, and beside them those of the processor, since
other work may share the machine. maraboupy is compared where it is installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai.robustness.verify.instances import Instance, read_instances

FOLDERS = ("acasxu", "mnist_fc")
EVERY = 4
SECONDS = 30.0  # for each problem; XAI_VERIFY_SECONDS where that is less
GRACE = 60.0  # seconds more, after which a command is ended
DECIDED = ("sat", "unsat")
ANSWERS = (*DECIDED, "timeout", "unknown")
COMMANDS = {"xai": ("xai.cli", "verify"), "maraboupy": ("maraboupy",)}
MORE = {"xai": (), "maraboupy": ("--verbosity", "0", "--num-workers", "1", "--blas-threads", "1")}


@dataclass(frozen=True)
class Told:
    """What a program said of a problem, and the seconds by the clock and of the processor that it took."""

    word: str
    seconds: float
    busy: float

    @property
    def row(self) -> list[Any]:
        return [self.word, round(self.seconds, 1), round(self.busy, 1)]


def measure(_: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    limit = min(SECONDS, float(os.environ.get("XAI_VERIFY_SECONDS", "inf")))
    there = importlib.util.find_spec("maraboupy") is not None
    programs = ["xai", "maraboupy"] if there else ["xai"]
    place = Path(os.environ["XAI_DATA"]) / "verification"
    return {
        "maraboupy": importlib.metadata.version("maraboupy") if there else "is not installed",
        "time limit, seconds": limit,
        "sample": f"every {EVERY}th of the problems whose verdict is known",
        **{folder: _folder(place / folder, programs, limit) for folder in FOLDERS},
    }


def _folder(place: Path, programs: Sequence[str], limit: float) -> dict[str, Any]:
    chosen = [one for one in read_instances(place / "instances.csv") if one.expected in DECIDED][::EVERY]
    found = [_both(number, one, programs, limit) for number, one in enumerate(chosen)]
    pairs = list(zip(chosen, found, strict=True))
    shared = [told for told in found if all(one.word in DECIDED for one in told.values())]
    return {
        "problems": len(chosen),
        **{name: _summary(name, pairs) for name in programs},
        "decided by all": {
            "problems": len(shared),
            "seconds": {name: round(sum(told[name].seconds for told in shared), 1) for name in programs},
            "processor seconds": {name: round(sum(told[name].busy for told in shared), 1) for name in programs},
        },
        "each: word, seconds, processor seconds": {
            f"{one.onnx.name} {one.vnnlib.name}": {
                "expected": one.expected,
                **{name: part.row for name, part in told.items()},
            }
            for one, told in pairs
        },
    }


def _summary(name: str, pairs: Sequence[tuple[Instance, Mapping[str, Told]]]) -> dict[str, Any]:
    told = [(one, own[name]) for one, own in pairs]
    wrong = [one for one, own in told if {own.word, one.expected} == set(DECIDED)]
    return {
        "decided": sum(own.word in DECIDED for _, own in told),
        "wrong": [f"{one.onnx.name} {one.vnnlib.name}" for one in wrong],
        "seconds": round(sum(own.seconds for _, own in told), 1),
        "seconds of the quickest": round(min(own.seconds for _, own in told), 1),
        "processor seconds": round(sum(own.busy for _, own in told), 1),
    }


def _both(number: int, one: Instance, programs: Sequence[str], limit: float) -> dict[str, Told]:
    """Return what the programs say of a problem; who is asked first changes from one to the next."""
    found = {name: _asked(name, one, limit) for name in (programs if number % 2 else programs[::-1])}
    said = ", ".join(f"{name} {told.word} {told.seconds:.1f} s" for name, told in found.items())
    print(f"{one.onnx.name} {one.vnnlib.name}, {one.expected} expected: {said}", file=sys.stderr, flush=True)
    return {name: found[name] for name in programs}


def _asked(name: str, one: Instance, limit: float) -> Told:
    files = [str(one.onnx), str(one.vnnlib)]
    command = [sys.executable, "-m", *COMMANDS[name], *files, "--timeout", f"{limit:g}", *MORE[name]]
    own = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    begun, busy = time.perf_counter(), _busy()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=limit + GRACE, cwd=folder, env=own, check=False
            )
        except subprocess.TimeoutExpired:
            word = "timeout"
        else:
            word = _word(run.stdout)
    return Told(word, time.perf_counter() - begun, _busy() - busy)


def _word(said: str) -> str:
    """Return the first line that is an answer, "error" if none is."""
    lines = (line.strip().lower() for line in said.splitlines())
    return next((line for line in lines if line in ANSWERS), "error")


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
