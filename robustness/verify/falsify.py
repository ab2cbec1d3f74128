"""The search for a counterexample: points of the region that the network itself is asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch

from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import Norm, shrink, shrink_l1
from xai.robustness.verify.problem import Problem

Exact = Callable[[torch.Tensor], list[Fraction] | None]
Network = Callable[[torch.Tensor], torch.Tensor]  # float32 (n, ...) -> (n, outputs), as it runs
STARTS, STEPS = 24, 40
NEAR = (0.02, 0.01, 0.003)  # of the region's width: steps from points where bounds are met
_INWARD = 1 - 2.0**-40  # of the radius: what float64 sums may round by


@dataclass(frozen=True)
class Falsifier:
    """Asks the network about points.

    Args:
        problem: whose case is to be met.
        network: as it runs.
        generator: of the random starts.
        confirm: says whether an input (...) with its output (outputs,) is a counterexample in the property's own terms.
        exact: gives the outputs at an input (...) in exact arithmetic, None where it cannot.
    """

    problem: Problem
    network: Network
    generator: torch.Generator
    confirm: Callable[[torch.Tensor, torch.Tensor], bool] | None = None
    exact: Exact | None = None

    def attack(self, stop: Callable[[], bool]) -> torch.Tensor | None:
        """Return a counterexample (...) that descent from random points finds, None if none is found.

        Madry 2018: signed steps, ever smaller, on how far the output is from the violation.

        Args:
            stop: asked at every step.
        """
        points = self._starts()
        for step in range(STEPS):
            found = self.meets(points)
            if found is not None or stop():
                return found
            points = self._descended(points, 0.25 * 0.9**step)
        return self.meets(points)

    def near(self, points: torch.Tensor) -> torch.Tensor | None:
        """Return a counterexample at points (n, ...) moved into the region, or a few steps of descent from them."""
        points = self.inside(points)
        found = self.meets(points)
        for share in NEAR:
            if found is not None:
                return found
            points = self._descended(points, share)
            found = self.meets(points)
        return found

    @torch.no_grad()
    def meets(self, points: torch.Tensor) -> torch.Tensor | None:
        """Return the first of points (n, ...) that is a counterexample, None if none is.

        The network gives the violation for it alone, as it runs; and in real numbers, too, where the proof would be
        about those: the values of the network at this point, enclosed.
        """
        slack = self.problem.case.slack(self.network(points).flatten(1))
        for place in (slack <= 0).nonzero()[:, 0].tolist():
            point = points[place, None]
            output = self.network(point).flatten(1)
            is_met = bool(self.problem.case.slack(output) <= 0) and self._contains(point)
            is_confirmed = is_met and (self.confirm is None or self.confirm(point[0], output[0]))
            if is_confirmed and self._truly(point):  # last: exact arithmetic is dear
                return point[0]
        return None

    def _truly(self, point: torch.Tensor) -> bool:
        if self.problem.arithmetic is Arithmetic.FLOAT:
            return True
        problem, exact = self.problem, point.double()[:, None]
        analysis = Analysis(problem.program.steps, Inputs(Interval(exact, exact), exact), problem.rounding)
        analysis.spread(problem.program.output)
        most = -analysis.bounded(problem.program.output, -problem.rows(1), boxed=True)
        if bool((problem.below(most) >= 0).all()):
            return True
        least = analysis.bounded(problem.program.output, problem.rows(1), boxed=True)
        outputs = None if self.exact is None or bool((problem.beyond(least) > 0).any()) else self.exact(point[0])
        return outputs is not None and problem.case.met(outputs)

    def _contains(self, point: torch.Tensor) -> bool:
        region, exact = self.problem.region, point.double()[:, None]
        inside = bool(((exact >= region.box.lower) & (exact <= region.box.upper)).all())
        if region.is_box or not inside:
            return inside
        assert region.radius is not None
        delta = (exact - region.centre).flatten(1)
        return bool(torch.linalg.vector_norm(delta, ord=1 if region.norm is Norm.L1 else 2) <= region.radius)

    @torch.enable_grad()
    def _descended(self, points: torch.Tensor, share: float) -> torch.Tensor:
        x = points.clone().requires_grad_()
        slack = self.problem.case.slack(self.network(x).flatten(1))
        (gradient,) = torch.autograd.grad(slack.nan_to_num().sum(), x)
        box = self.problem.region.box
        return self.inside(points - share * (box.upper - box.lower)[:, 0] * gradient.sign())

    def _starts(self) -> torch.Tensor:
        """Return random points, half of them corners; the middle first."""
        box = self.problem.region.box
        lower, upper = box.lower[:, 0], box.upper[:, 0]
        shares = torch.rand((STARTS, *lower.shape[1:]), dtype=torch.float64, generator=self.generator)
        shares[STARTS // 2 :] = shares[STARTS // 2 :].round()
        shares[0] = 0.5
        return self.inside(lower + (upper - lower) * shares.to(lower.device))

    def inside(self, points: torch.Tensor) -> torch.Tensor:
        """Return points (n, ...) as float32 points of the region."""
        region = self.problem.region
        lower, upper, centre = region.box.lower[:, 0], region.box.upper[:, 0], region.centre[:, 0]
        points = points.double()
        if not region.is_box:
            assert region.radius is not None
            delta, radius = points - centre, region.radius.expand(len(points)) * _INWARD
            room = torch.where(delta > 0, upper - centre, centre - lower).clamp(min=0)
            delta = shrink_l1(delta, radius, room) if region.norm is Norm.L1 else shrink(delta, radius, region.norm)
            points = centre + delta
        points = torch.minimum(torch.maximum(points, lower), upper)
        found = points.float()
        infinity = torch.tensor(torch.inf, device=found.device)
        found = torch.where(found.double() < lower, torch.nextafter(found, infinity), found)
        found = torch.where(found.double() > upper, torch.nextafter(found, -infinity), found)
        if self.problem.case.single is None:
            return found
        least, most = self.problem.case.single
        return torch.minimum(torch.maximum(found, least), most)
