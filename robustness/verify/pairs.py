"""Two inputs that differ in some features only, and a network that is run on both: what a pair property is about.

The joint input has the first input and a second tensor of the same shape, whose features count where the inputs may
differ and are ignored elsewhere. Where the second input is the first and a step, linear bounds of the difference of
both outputs cancel what the inputs share; a step is cut at the box, so every joint input is a pair of inputs of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from xai.robustness.bounds.affine import Scale, Sum
from xai.robustness.bounds.elementwise import Rectifier
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.relaxations.base import Builder, Value


class Pairing(StrEnum):
    """What the second tensor of a joint input is."""

    STEP = "step"  # added to the first input, at most up to the box's upper end
    OTHER = "other"  # the second input's own features


@dataclass(frozen=True, eq=False)
class Pair:
    """How two inputs are made of a joint one.

    Args:
        pairing: what the second tensor is.
        moves: (...) bool, the input's shape: where the two inputs may differ.
        top: (...) float64, the largest value of each feature.
    """

    pairing: Pairing
    moves: torch.Tensor
    top: torch.Tensor

    def inputs(self, joint: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both inputs (n, ...) of joint ones (n, 2, ...), in their dtype.

        A step is added and cut there, so the second input is nowhere below the first in exact arithmetic, too.
        """
        first, second = joint[:, 0], joint[:, 1]
        if self.pairing is Pairing.STEP:
            second = torch.minimum(first + second, _down(self.top, first.dtype)).maximum(first)
        return first, torch.where(self.moves, second, first)

    def region(self, box: Interval) -> Inputs:
        """Return the joint inputs (1, 1, 2, ...) of all pairs in a box (1, 1, ...) that differ where they may."""
        lower, upper = box.lower, box.upper
        if self.pairing is Pairing.STEP:
            lower = torch.zeros_like(lower)
            upper = torch.nextafter(upper - box.lower, torch.full_like(upper, torch.inf))
        zeros = torch.zeros_like(lower)
        second = (torch.where(self.moves, end, zeros) for end in (lower, upper))
        joint = Interval(*(torch.stack(ends, 2) for ends in zip((box.lower, box.upper), second, strict=True)))
        return Inputs(joint, joint.middle)


def doubled(program: Program, pair: Pair) -> Program:
    """Return the network run on both inputs of a joint one: (1, 2, ...) in, (1, 2 x outputs) out, the first's first.

    The float32 network takes both inputs as they are: only how bounds are computed rounds on the way to them.
    """
    shape = program.steps[0].shape
    build = Builder(torch.zeros(shape[0], 2, *shape[1:]))
    build.name, build.layer = "pair", "input"
    first = build.arrange(lambda joint: joint[:, 0], build.input, alone=True)
    second = _second(build, pair, first)
    outputs = [_copied(build, program, value) for value in (first, second)]
    build.name, build.layer = "outputs", "output"
    joined = build.arrange(lambda *x: torch.cat([one.flatten(1) for one in x], 1), *outputs, alone=True)
    return Program(tuple(build.steps), joined.index, {})


def _down(top: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the largest numbers of a dtype that are not above others."""
    found = top.to(dtype)
    return torch.where(found.double() > top, torch.nextafter(found, torch.full_like(found, -torch.inf)), found)


def _second(build: Builder, pair: Pair, first: Value) -> Value:
    other = build.arrange(lambda joint: joint[:, 1], build.input, alone=True)
    if pair.pairing is Pairing.OTHER:
        return build.arrange(lambda x, y: torch.where(pair.moves, y, x), first, other, alone=True)
    room = Part(Scale(torch.tensor(-1.0, dtype=torch.float64), pair.top))  # top - x, exact for the network
    added = build.add(Part(Sum((1, 1))), first, other)
    left = build.add(Rectifier(torch.tensor(0.0)), build.add(room, added))
    cut = build.add(room, left)
    return build.arrange(lambda x, y: torch.where(pair.moves, y, x), first, cut, alone=True)


def _copied(build: Builder, program: Program, given: Value) -> Value:
    """Add a network's steps behind a value that stands for its input, and return its output."""
    made = {0: given}
    for index, step in enumerate(program.steps[1 : program.output + 1], 1):
        assert step.operation is not None
        sources = [made[source] for source in step.inputs]
        example = step.operation.value(*(build.examples[source.index] for source in sources))
        build.steps.append(replace(step, inputs=tuple(source.index for source in sources)))
        build.examples.append(example)
        made[index] = Value(len(build.steps) - 1, step.shape)
    return made[program.output]
