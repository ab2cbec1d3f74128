"""Bounds of a model's outputs over regions around inputs, and what they say of its answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from xai.errors import NotApplicableError
from xai.models.layout import operator
from xai.models.model import Model
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.limits import WORK, check_fits
from xai.robustness.bounds.methods.base import Bounder
from xai.robustness.bounds.program import Program, program
from xai.robustness.bounds.rounding import Arithmetic, Rounding
from xai.robustness.norms import Norm

LARGE = 5 * 10**8  # multiply-adds: beyond, intervals are carried in float32
OUTWARD = 1 + 2.0**-50
ROWS = 64  # outputs that are bounded at once: each takes a row as long as all of them


@dataclass(frozen=True)
class Bounding:
    """A model, and a way to bound it.

    Args:
        model: with a graph.
        bounder: the method.
        arithmetic: of the network that the bounds are about.
        layer: whose output is bounded; "" for the model's outputs.
        work: multiply-adds that one input may take; what would take more is refused.
        learning: whether leads have gradients for the weights, those of the model as it is when its program is made;
            intervals are carried in float32 then, and nothing is proved by them.
        tensors: instead of the graph's own, by name, where it is learnt.
    """

    model: Model
    bounder: Bounder
    arithmetic: Arithmetic = Arithmetic.REAL
    layer: str = ""
    work: float = WORK
    learning: bool = False
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def program(self) -> Program:
        """The steps up to what is bounded; raises UnboundedError if an operator has no rule."""
        graph = self.model.needed_graph()
        low, high = self.model.input.span
        shares = torch.rand((1, *self.model.input.shape), generator=torch.Generator().manual_seed(0))
        found = program(
            graph,
            (low + (high - low) * shares).to(self.model.device),
            graph.layer(self.layer).node if self.layer else "",
            learning=self.learning,
            tensors=self.tensors,
        )
        found.needs(self.arithmetic)
        return found

    def inputs(self, x: torch.Tensor, norm: Norm, epsilon: float | torch.Tensor) -> Inputs:
        """Return the region around inputs: a ball, clipped to the range of values that the model takes.

        Args:
            x: (n, ...) in input units.
            norm: of the change.
            epsilon: its largest size; one for all, or (n,) float64.
        """
        low, high = self.model.input.range or (-math.inf, math.inf)
        centre = x.double()[:, None]
        radius = torch.as_tensor(epsilon, dtype=torch.float64, device=x.device).expand(len(x)) * OUTWARD
        reach = radius.reshape(-1, *(1,) * (centre.ndim - 1))
        inside = centre.clamp(low, high)
        lower, upper = (centre - reach).clamp(min=low), (centre + reach).clamp(max=high)
        infinity = torch.tensor(math.inf, dtype=torch.float64, device=x.device)
        lower = torch.where(lower > low, torch.nextafter(lower, -infinity), lower)
        upper = torch.where(upper < high, torch.nextafter(upper, infinity), upper)
        box = Interval(torch.minimum(lower, inside), torch.maximum(upper, inside))
        return Inputs(box, centre, norm, radius)

    def box(self, lower: torch.Tensor, upper: torch.Tensor) -> Inputs:
        """Return the region of all inputs between two, each (n, ...) in input units."""
        ends = Interval(lower.double()[:, None], upper.double()[:, None])
        return Inputs(ends, ends.middle)

    def analysis(self, inputs: Inputs) -> Analysis:
        """Return an analysis of regions that knows nothing yet: what is asked of it in turn shares the boxes."""
        large = self.bounder.single and self.program.work > LARGE and not self.program.faint
        single = self.learning or large
        dtype = torch.float32 if single else self.bounder.dtype
        return Analysis(self.program.steps, inputs, Rounding(self.arithmetic, dtype, ignored=self.learning))

    @torch.no_grad()
    def outputs(self, inputs: Inputs | Analysis) -> Interval:
        """Return bounds (n, ...) float64 of every number that is bounded, in the shape of its value."""
        analysis = self._prepared(inputs, self.program.output)
        box = analysis.boxes[self.program.output].to(torch.float64)
        if self.bounder.boxes_only:
            return Interval(box.lower[:, 0], box.upper[:, 0])
        shape, batch = box.lower.shape[1:], len(box.lower)
        lower, upper = [], []
        for part in torch.arange(shape.numel(), device=self.model.device).split(ROWS):
            rows = torch.zeros(len(part), shape.numel(), dtype=torch.float64, device=self.model.device)
            rows = rows.scatter_(1, part[:, None], 1.0).reshape(-1, 1, *shape).expand(-1, batch, *shape)
            lower.append(self.bounder.lowest(analysis, self.program.output, rows))
            upper.append(-self.bounder.lowest(analysis, self.program.output, -rows))
        ends = (torch.cat(parts).T.reshape(box.lower.shape) for parts in (lower, upper))
        found = Interval(*ends).within(box)
        return Interval(found.lower[:, 0], found.upper[:, 0])

    def leads(self, inputs: Inputs | Analysis, answers: torch.Tensor) -> torch.Tensor:
        """Return a lower bound (n, classes) float64 of how far each input's answer scores above every class.

        Where all are above 0, apart from the answer's own, which is 0, every input of the region has that answer.

        Args:
            inputs: the regions, or an analysis of them.
            answers: (n,) index into the model's answers.
        """
        if self.layer or self.model.card.output == "values":
            raise NotApplicableError("only a model's scores of classes say which class wins")
        with torch.set_grad_enabled(self.learning):
            return self._leads(inputs, answers)

    def _leads(self, inputs: Inputs | Analysis, answers: torch.Tensor) -> torch.Tensor:
        analysis = self._prepared(inputs, self._scores)
        shape = self.program.steps[self._scores].shape
        count = len(self.model.answers)
        if torch.Size(shape).numel() == 1:
            return self._signed(analysis, answers)
        identity = torch.eye(count, dtype=torch.float64, device=self.model.device)
        rows = (identity[answers][None] - identity[:, None]).reshape(count, len(answers), *shape)
        found = self.bounder.lowest(analysis, self._scores, rows).T
        return found.scatter(1, answers[:, None], 0.0)

    def certified(self, inputs: Inputs | Analysis, answers: torch.Tensor) -> torch.Tensor:
        """Say for each region (n,) whether it is proved that all of its inputs have the answer (n,)."""
        leads = self.leads(inputs, answers)
        own = torch.nn.functional.one_hot(answers, leads.shape[1]).bool()
        return ((leads > 0) | own).all(1)

    def largest(
        self,
        x: torch.Tensor,
        answers: torch.Tensor,
        norm: Norm,
        most: float | torch.Tensor,
        halvings: int = 12,
        least: float | torch.Tensor = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return for each input the largest size of change that was proved harmless, and the smallest that was not.

        Found by bisection between `least`, which is known to be harmless, and `most`; one for all or (n,) float64 each.
        Both that are returned are (n,) float64, the second inf where `most` itself is proved harmless.
        """
        ends = (torch.as_tensor(end, dtype=torch.float64, device=x.device).expand(len(x)) for end in (least, most))
        low, high = ends
        whole = self.certified(self.inputs(x, norm, high), answers)
        low, high = torch.where(whole, high, low), torch.where(whole, math.inf, high)
        for _ in range(halvings):
            far = (low > 0) & (high > 2 * low)  # orders of magnitude are halved first
            middle = torch.where(whole, low, torch.where(far, (low * high).sqrt(), (low + high) / 2))
            proved = self.certified(self.inputs(x, norm, middle), answers) | whole
            low, high = torch.where(proved, middle, low), torch.where(proved, high, middle)
        return low, high

    def _prepared(self, inputs: Inputs | Analysis, last: int) -> Analysis:
        analysis = inputs if isinstance(inputs, Analysis) else self.analysis(inputs)
        check_fits(self.program, self.bounder, len(analysis.inputs), last, self.work)
        self.bounder.prepare(analysis, last)
        return analysis

    def _signed(self, analysis: Analysis, answers: torch.Tensor) -> torch.Tensor:
        """Return the leads of a single score, above or below its middle."""
        sign = torch.where(answers > 0, 1.0, -1.0).double()
        shape = self.program.steps[self._scores].shape
        rows = sign.reshape(1, -1, *(1,) * len(shape)).expand(1, -1, *shape)
        middle = 0.5 if self.model.card.output == "probabilities" and self._scores == self.program.output else 0.0
        lead = self.bounder.lowest(analysis, self._scores, rows)[0] - sign * middle
        found = lead[:, None].expand(-1, 2)
        return found.scatter(1, answers[:, None], 0.0)

    @cached_property
    def _scores(self) -> int:
        """The step that says which class wins: in real numbers what enters a last softmax or sigmoid does."""
        if self.arithmetic is Arithmetic.FLOAT:
            return self.program.output
        (node,) = [node for node in self.model.needed_graph().module.graph.nodes if node.op == "output"]
        (last,) = node.all_input_nodes[:1]
        if last.op != "call_function" or operator(last) not in ("softmax", "_softmax", "log_softmax", "sigmoid"):
            return self.program.output
        return self.program.nodes[last.all_input_nodes[0].name]
