"""The one context in which an analysis runs: device, seed, threads, memory and progress."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from xai.errors import UsageError

Progress = Callable[[str, int, int], None]

DEVICES = ("auto", "cpu", "cuda")
MAX_BATCH = 32
MEMORY = {"cpu": 64 * 2**20, "cuda": 512 * 2**20}  # malloc maps tensors beyond 32 MiB anew each time, which is slow


def resolve_device(name: str) -> torch.device:
    """Return the torch device for "auto", "cpu", "cuda" or "cuda:N"; raise UsageError if it is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"there is no device {name!r}; expected one of {', '.join(DEVICES)}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is usable here; use --device cpu, or install a CUDA build of torch")
    device = torch.device(name)
    if (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise UsageError(f"there is no device {name!r}; there are {torch.cuda.device_count()} CUDA devices")
    return device


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How analyses run.

    Args:
        device: where tensors live.
        seed: the run's seed; every method and sample derives its own from it.
        threads: threads a forward pass may use; 0 leaves torch's own choice.
        memory: bytes that one batch's activations may take; 0 leaves what is fast on the device.
        progress: called with (stage, done, total).
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    threads: int = 0
    memory: int = 0
    progress: Progress = silent

    def settings(self) -> dict[str, str | int]:
        """Return what the record keeps of this context."""
        return {
            "device": str(self.device),
            "seed": self.seed,
            "threads": self.threads or torch.get_num_threads(),
            "memory": self._memory,
        }

    def batch(self, needed: int, most: int = MAX_BATCH) -> int:
        """Return how many inputs go through the model at once, where one needs that many bytes."""
        return max(1, min(most, self._memory // needed))

    def batches(self, stage: str, count: int, size: int) -> Iterator[range]:
        """Yield the numbers of `count` things, at most `size` at a time, and tell how many are done."""
        for done in range(0, count, size):
            self.progress(stage, done, count)
            yield range(done, min(done + size, count))
        self.progress(stage, count, count)

    def generator(self, *names: str) -> torch.Generator:
        """Return a generator whose seed follows from the run's seed and the names; no global state is touched."""
        return torch.Generator(device=self.device).manual_seed(self._seed(*names))

    def _seed(self, *names: str) -> int:
        digest = hashlib.sha256("\0".join((str(self.seed), *names)).encode()).digest()
        return int.from_bytes(digest[:7], "big")

    @property
    def _memory(self) -> int:
        return self.memory or MEMORY[self.device.type]

    @contextmanager
    def seeded(self, *names: str) -> Iterator[torch.Generator]:
        """Give a generator whose seed follows from the run's seed and the names; global state is restored after."""
        seed = self._seed(*names)
        devices = [self.device] if self.device.type == "cuda" else []
        threads = torch.get_num_threads()
        with torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch every GPU, restored or not
            for device in devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            torch.set_num_threads(self.threads or threads)
            try:
                yield torch.Generator(device=self.device).manual_seed(seed)
            finally:
                torch.set_num_threads(threads)
