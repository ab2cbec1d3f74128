"""What a network makes of a batch: whether inputs mix, whether it draws random numbers, told from a few of them.

Two runs of one batch size round alike, so an input whose neighbours alone were changed must keep its outputs. Runs of
different sizes round differently: by how much is measured, on an input that was moved by as little as its rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.errors import XaiError

INPUTS = 5  # that a trial needs
NEIGHBOURS = 1e-3  # share of the outputs' spread by which neighbours may change an input's outputs
SIZE = 1e-2  # share of the spread by which the batch's size may

Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Trial:
    """What was seen.

    Args:
        mixing: how an input's outputs depend on its batch, in words; "" if they do not.
        drawn: by how much the outputs of one input differ from one run to the next; 0 if only by rounding.
    """

    mixing: str = ""
    drawn: float = 0.0


def tried(forward: Forward, x: torch.Tensor, rounding: float) -> Trial:
    """Run a network on single inputs and on batches.

    Args:
        forward: (batch, ...) -> (batch, outputs).
        x: `INPUTS` inputs that differ.
        rounding: the step of the numbers that the network computes with, as a share.
    """
    with torch.no_grad(), torch.random.fork_rng():
        try:
            alone = torch.cat([seeded(forward, row[None]) for row in x[:3]])
            again, near = seeded(forward, x[:1], 1), seeded(forward, x[:1] * (1 + rounding))
        except XaiError:  # it takes too long, or too much memory
            raise
        except Exception:  # what is wrong with a single input is told where its outputs are looked at
            return Trial()
        try:
            together, among = seeded(forward, x[:3]), seeded(forward, x[[3, 1, 4]])
        except XaiError:
            raise
        except Exception as error:
            return Trial(f"it does not take a batch of 3 ({' '.join(str(error).split())[:150]})")
    if not alone.numel():
        return Trial()
    if together.shape != alone.shape:
        return Trial(f"for 3 inputs it returns {tuple(together.shape)}; one by one {tuple(alone.shape)}")
    scale = spread(alone, together, among)
    rounded = max(16 * _apart(near, alone[:1]), 64 * rounding * float(alone.abs().max()))
    drawn = _apart(again, alone[:1])
    if drawn > max(SIZE * scale, rounded):
        return Trial(drawn=drawn)
    by_neighbours, by_size = _apart(among[1], together[1]), _apart(together, alone)
    if by_neighbours > max(NEIGHBOURS * scale, 4 * drawn):
        share = by_neighbours / scale
        return Trial(f"an input's outputs depend on the others in its batch (by {share:.2g} of their spread)")
    if by_size > max(SIZE * scale, rounded):
        share = by_size / scale
        return Trial(f"an input's outputs depend on how many others are in its batch (by {share:.2g} of their spread)")
    return Trial()


def spread(*outputs: torch.Tensor) -> float:
    """Return the widest range of any output among inputs: (inputs, outputs), whatever offset they have."""
    every = torch.cat(outputs).double()
    return float((every.amax(0) - every.amin(0)).max()) if every.numel() else 0.0


def seeded(forward: Forward, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Return outputs of which the random numbers, if any, follow from a seed."""
    torch.manual_seed(seed)
    return forward(x)


def _apart(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one.double() - two.double()).abs().max())
