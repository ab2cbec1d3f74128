"""What bounding costs, told before it is begun: what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import torch

from xai.errors import NotApplicableError
from xai.robustness.bounds.methods.base import Bounder, bounders
from xai.robustness.bounds.program import Program

WORK = 2e13  # multiply-adds for one input: about an hour of two cores
RESERVE = 0.8  # share of the free memory that may be taken
BOXED, RELAXED, ROWS = 2, 12, 4  # tensors that a box, linear bounds and rows in hand take


class TooLargeError(NotApplicableError):
    """What would take more memory or more work than there is."""


def needed_bytes(program: Program, bounder: Bounder, samples: int, last: int) -> int:
    """Return an estimate of the memory that the boxes of some samples take, and one row of coefficients each."""
    sizes = [torch.Size(step.shape).numel() for step in program.steps[: last + 1]]
    curved = [
        size
        for size, step in zip(sizes, program.steps, strict=False)
        if step.operation is not None and not step.operation.affine
    ]
    item = torch.empty((), dtype=bounder.dtype).element_size()
    if bounder.boxes_only:
        return samples * item * BOXED * 4 * max(sizes)
    return samples * (item * (BOXED * sum(sizes) + RELAXED * sum(curved)) + 8 * ROWS * max(sizes))


def needed_work(program: Program, bounder: Bounder, last: int) -> float:
    """Return an upper bound of the multiply-adds that one input takes, if no number of an inner layer is settled."""
    work, found = 0.0, 0.0
    entering = {
        source
        for step in program.steps[: last + 1]
        if step.operation is not None and not step.operation.affine
        for source in step.inputs
    }
    for index, step in enumerate(program.steps[: last + 1]):
        size = torch.Size(step.shape).numel()
        work += size * ((step.operation.terms or 1) if step.operation is not None else 0)
        found += size * work if index in entering else 0
    rows = torch.Size(program.steps[last].shape).numel()
    return bounder.inner * found + 2 * (0 if bounder.boxes_only else rows) * work + 2 * work


def free_bytes() -> int:
    """Return how much memory this process may still take; a very large number where that cannot be told."""
    found = [2**62]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        found += [int(limit) - int(used)] if limit.isdigit() else []
    except (OSError, ValueError, IndexError):  # no Linux, or no limit that can be read
        pass
    return min(found)


def check_fits(program: Program, bounder: Bounder, samples: int, last: int, work: float = WORK) -> None:
    """Raise TooLargeError, with the estimate, if bounding so many samples at once would not fit memory or patience.

    Args:
        program: what is bounded.
        bounder: how.
        samples: how many inputs at once.
        last: the step that is bounded.
        work: multiply-adds that one input may take.
    """
    expected = needed_work(program, bounder, last)
    if expected > work:
        cheaper = " or ".join(name for name, leaf in bounders.all().items() if not leaf.inner)
        raise TooLargeError(
            f"{bounder.about.title} would take up to {expected:.1g} multiply-adds for one input, and {work:.1g} are "
            f"allowed; {cheaper} takes as many as a few passes of the network"
        )
    needed, free = needed_bytes(program, bounder, samples, last), free_bytes()
    if needed > RESERVE * free:
        raise TooLargeError(
            f"{bounder.about.title} for {samples} inputs would take about {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free; fewer inputs at once, a cheaper method or a smaller network would fit"
        )
