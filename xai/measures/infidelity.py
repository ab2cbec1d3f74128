"""Infidelity and max-sensitivity: does the map foretell the output, and does it hold still while the input does?"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from xai.errors import NotApplicableError
from xai.measures.base import Judgement, Measure, Subject
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.registry import Kind, Method
from xai.reports.records import Value
from xai.runtime import Runtime


def infidelity(covered: torch.Tensor, map_: torch.Tensor, drops: torch.Tensor) -> float:
    """Return the share of the drops' mean square that the map leaves unexplained, after the best scaling: 0 to 1.

    The scale is not negative: a map of the wrong sign explains nothing.

    Args:
        covered: (squares, height, width) 1 where a square covers the input.
        map_: (height, width).
        drops: (squares,) the output's drop for each.
    """
    told = (covered * map_).sum(dim=(-2, -1))
    power = drops.square().mean()
    scale = (told * drops).mean() / told.square().mean() if told.any() else torch.zeros(())
    return float((scale.clamp(min=0) * told - drops).square().mean() / power)


def max_sensitivity(map_: np.ndarray, others: list[np.ndarray]) -> float:
    """Return the largest distance of the other maps from the map, as a share of its norm."""
    return max(float(np.linalg.norm(other - map_)) for other in others) / float(np.linalg.norm(map_))


class Infidelity(Measure):
    """Infidelity and max-sensitivity (Yeh et al. 2019): either alone has a trivial optimum, so they stand together."""

    about = Method(
        name="infidelity",
        title="Infidelity and max-sensitivity",
        summary=(
            "Infidelity: how badly the map's sum over a covered square foretells the output's drop (0 perfectly, 1 no "
            "better than an empty map). Max-sensitivity: by how much the map moves when the input hardly does."
        ),
        limits=(
            "A constant map is the least sensitive one and says nothing: read both. Infidelity asks about squares of "
            "random size and place, and a map may be scaled freely to fit."
        ),
        source="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations",
        kind=Kind.STATISTICAL,
    )

    squares: int = Field(default=200, ge=10, le=100_000, description="covered squares, of random size and place")
    fill: Fill = Field(default="image", description=f"what covers: {FILLS}")
    neighbours: int = Field(default=10, ge=1, le=1000, description="inputs beside the given one")
    radius: float = Field(
        default=0.02, gt=0, le=1, description="how far they lie at most, by pixel, as a share of the input's range"
    )

    line: float = Field(default=0.5, gt=0, lt=1, description="infidelity and sensitivity below which a map is good")

    def check(self, model: Model) -> None:
        """Raise UsageError if the fill does not fit."""
        check_fill(self.fill, model.input, "infidelity.fill")

    def judge(self, subject: Subject, runtime: Runtime) -> Judgement:
        """Cover squares; and explain neighbours with the same random numbers."""
        fill = fill_colour(self.fill, subject.x, subject.model.input)
        covered = _squares(self.squares, *subject.map.shape).to(subject.x.device)
        drops = self._drops(subject, covered, fill, runtime)
        if not drops.any():
            raise NotApplicableError("no covered square changes the output")
        map_ = torch.from_numpy(subject.map).double().to(subject.x.device)
        unfaithful = infidelity(covered.double(), map_, drops)
        moved = max_sensitivity(subject.map, self._neighbours(subject, runtime))
        return Judgement(
            sentence=(
                f"The map foretells {100 * (1 - unfaithful):.0f} % of what covering {self.squares} squares does to "
                f"the output (infidelity {unfaithful:.2f}); with inputs that differ by at most {100 * self.radius:g} % "
                f"of the range it moves by up to {100 * moved:.0f} % of its size (max-sensitivity {moved:.2g})."
            ),
            speaks="against" if unfaithful >= self.line else "for" if moved < self.line else "neither",
            values={
                "infidelity": Value(value=unfaithful, unit="0 to 1; lower is better", n=self.squares),
                "max-sensitivity": Value(
                    value=moved, unit="share of the map's norm; lower is better", n=self.neighbours
                ),
            },
            chosen={"fill value": numbers(fill)},
        )

    def _drops(self, subject: Subject, covered: torch.Tensor, fill: torch.Tensor, runtime: Runtime) -> torch.Tensor:
        """Return by how much each covered square lowers the target's output, (squares,) float64."""
        whole = subject.target(subject.model(subject.x[None])).double()
        outputs = []
        for squares in covered.split(runtime.batch(subject.model.bytes_per_input)):
            inputs = torch.where(squares[:, None].bool(), fill, subject.x)
            outputs.append(subject.target(subject.model(inputs)).double())
        return whole - torch.cat(outputs)

    def _neighbours(self, subject: Subject, runtime: Runtime) -> list[np.ndarray]:
        """Return the maps of inputs beside the given one, within the model's range."""
        low, high = subject.model.input.span
        maps = []
        for number in range(self.neighbours):
            runtime.progress(self.about.title, number, self.neighbours)
            noise = (2 * torch.rand(subject.x.shape) - 1).to(subject.x.device) * self.radius * (high - low)
            maps += subject.again(subject.model, (subject.x + noise).clamp(low, high), [subject.target])
        return maps


def _squares(number: int, height: int, width: int) -> torch.Tensor:
    """Return covered squares (number, height, width) 0 or 1, with sides from a tenth to a half of the shorter side."""
    shorter = min(height, width)
    covered = torch.zeros(number, height, width)
    for square in covered:
        side = int(torch.randint(max(1, shorter // 10), max(1, shorter // 2) + 1, ()))
        top, left = (int(torch.randint(size - side + 1, ())) for size in (height, width))
        square[top : top + side, left : left + side] = 1
    return covered
