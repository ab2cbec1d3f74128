"""What a rule is: it turns a call of the graph into steps that can be bounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from xai.errors import AnalysisError, NotApplicableError
from xai.registry import Family
from xai.robustness.bounds.affine import Arranged
from xai.robustness.bounds.analysis import Step
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Operation

CLOSE = 1e-6  # of the sum of sizes: what float64 may differ by


@dataclass(frozen=True)
class Value:
    """A value of the network that the input changes.

    Args:
        index: of its step.
        shape: for a batch of one.
    """

    index: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Unbounded:
    """A value that the input changes and that no rule bounds, such as the place of a maximum; none may read it."""


Made = Value | Unbounded | torch.Tensor | tuple["Made", ...]


class UnboundedError(NotApplicableError):
    """An operator that has no rule, or none for what it was called with."""


class Builder:
    """Collects the steps of a network.

    Args:
        example: an input for a batch of one; shapes follow from what becomes of it.
    """

    def __init__(self, example: torch.Tensor) -> None:
        self.steps: list[Step] = [Step("x", "input", None, (), tuple(example.shape))]
        self.examples: list[torch.Tensor] = [example[None]]
        self.name, self.layer = "x", "input"

    @property
    def input(self) -> Value:
        """The input."""
        return Value(0, self.steps[0].shape)

    def add(self, operation: Operation, *inputs: Value) -> Value:
        """Add a step and return its value."""
        example = operation.value(*(self.examples[value.index] for value in inputs))
        shape = tuple(example.shape[1:])
        if operation.affine:
            self._check_gradient(operation, inputs)
        self.steps.append(Step(self.name, self.layer, operation, tuple(value.index for value in inputs), shape))
        self.examples.append(example)
        return Value(len(self.steps) - 1, shape)

    @torch.no_grad()
    def _check_gradient(self, operation: Operation, inputs: tuple[Value, ...]) -> None:
        """Raise AnalysisError if what goes back through an affine step is not what goes forward.

        Some gradients are taken by automatic differentiation, which is not always the derivative: of detach it is 0.
        """
        generator = torch.Generator().manual_seed(0)
        x = [torch.rand((1, *value.shape), generator=generator, dtype=torch.float64) for value in inputs]
        output = operation.value(*x)
        rows = torch.rand((1, *output.shape), generator=generator, dtype=torch.float64)
        coefficients, constant = operation.relax(*(Interval(part, part) for part in x)).pull(rows)
        parts = [constant[0], *(part * value for part, value in zip(coefficients, x, strict=True))]
        back, sizes = (sum(float(way(part).sum()) for part in parts) for way in (torch.clone, torch.abs))
        if not abs(back - float((rows * output).sum())) <= CLOSE * sizes:
            raise AnalysisError(
                f"{self.name} in layer {self.layer}: its gradient is not its own; this is a fault of the program"
            )

    def arrange(self, function: Callable[..., torch.Tensor], *inputs: Value, **options: Any) -> Value:
        """Add a step that moves, adds or averages numbers; see Arranged."""
        return self.add(Arranged(function, [value.shape for value in inputs], **options), *inputs)


@dataclass(frozen=True)
class Call:
    """A call of an operator.

    Args:
        operator: its name without namespace and overload.
        target: what is called.
        arguments: by the names of its schema, defaults filled in; tensors that the input does not change are tensors.
        build: where steps are added.
    """

    operator: str
    target: Callable[..., Any]
    arguments: Mapping[str, Any]
    build: Builder

    def __getitem__(self, name: str) -> Any:
        """Return an argument."""
        return self.arguments[name]

    def value(self, name: str) -> Value:
        """Return an argument that must be a value of the network; refuse the call if it is not."""
        found = self.arguments[name]
        if not isinstance(found, Value):
            raise self.refused(f"{name} does not depend on the input")
        return found

    def constant(self, name: str) -> torch.Tensor:
        """Return an argument that must not depend on the input; refuse the call if it does."""
        found = self.arguments[name]
        if not isinstance(found, torch.Tensor):
            raise self.refused(f"{name} depends on the input")
        return found

    def refused(self, why: str) -> UnboundedError:
        """Return the error that says that this call cannot be bounded."""
        return UnboundedError(f"{self.operator} in layer {self.build.layer}: {why}")

    def run(self, changed: Mapping[str, Any]) -> Any:
        """Call the operator with some arguments exchanged."""
        arguments = {**self.arguments, **changed}
        positional = [arguments[a.name] for a in self._schema if not a.kwarg_only]
        return self.target(*positional, **{a.name: arguments[a.name] for a in self._schema if a.kwarg_only})

    @property
    def _schema(self) -> Sequence[Any]:
        return self.target._schema.arguments  # type: ignore[attr-defined, no-any-return]  # an OpOverload


@dataclass(frozen=True, kw_only=True)
class About:
    """What a rule says of itself, for the table in the documentation.

    Args:
        name: of the family of operators.
        operators: names of the graph's operators.
        interval: how intervals go through.
        linear: how linear bounds go through.
        rounding: what is known of its rounding in float32.
    """

    name: str
    operators: tuple[str, ...]
    interval: str
    linear: str
    rounding: str


class Rule(ABC):
    """Turns calls of some operators into steps."""

    about: ClassVar[About]

    @abstractmethod
    def lower(self, call: Call) -> Made:
        """Add the steps of a call and return its value; raise UnboundedError if it cannot be bounded."""


relaxations: Family[Rule] = Family(
    "relaxation",
    "xai.robustness.bounds.relaxations",
    Rule,  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
    key=lambda leaf: leaf.about.name,
)


def operator_table() -> str:
    """Return what every rule says of itself as a table in Markdown."""
    rows = [
        f"| {about.name} | {', '.join(f'`{name}`' for name in sorted(about.operators))} | {about.interval} | "
        f"{about.linear} | {about.rounding} |"
        for about in (leaf.about for leaf in relaxations.all().values())
    ]
    head = ("| family | operators | intervals | linear bounds | rounding in float32 |", "|---|---|---|---|---|")
    return "\n".join((*head, *rows)) + "\n"


def rules() -> dict[str, Rule]:
    """Return the rule of every operator that has one."""
    return {operator: leaf() for leaf in relaxations.all().values() for operator in leaf.about.operators}
