"""A network's graph as steps that can be bounded."""

from __future__ import annotations

import operator as python_operator
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx

from xai.errors import AnalysisError, NotApplicableError
from xai.models.graph import Graph, attribute
from xai.models.layout import operator
from xai.robustness.bounds.analysis import Step
from xai.robustness.bounds.operation import Operation
from xai.robustness.bounds.relaxations.base import Builder, Call, Made, Rule, Unbounded, UnboundedError, Value, rules
from xai.robustness.bounds.rounding import SMALLEST, Arithmetic

_ASSERTIONS = (
    "_assert_tensor_metadata",
    "_assert_scalar",
    "_assert_async",
    "sym_constrain_range_for_size",
    "sym_constrain_range",
)
CLOSE = 1e-3  # of the outputs' size: what two ways to compute a network in float32 may differ by


@dataclass(frozen=True)
class Program:
    """A network as steps.

    Args:
        steps: each after those that it is made of; the first is the input.
        output: the step that is bounded.
        nodes: the step of every node of the graph that the input changes, by the node's name.
    """

    steps: tuple[Step, ...]
    output: int
    nodes: dict[str, int]

    @torch.no_grad()
    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is bounded (n, ...) float64 for inputs (n, ...): the steps themselves, computed in float64."""
        made: dict[int, torch.Tensor] = {}
        left = Counter(source for step in self.steps[: self.output + 1] for source in step.inputs)
        for index, step in enumerate(self.steps[: self.output + 1]):
            operation = step.operation
            made[index] = x.double()[:, None] if operation is None else operation.value(*(made[i] for i in step.inputs))
            left.subtract(step.inputs)
            for source in step.inputs:
                if not left[source]:
                    made.pop(source, None)
        return made[self.output][:, 0]

    @property
    def work(self) -> int:
        """Multiply-adds of one input."""
        counted = (step for step in self.steps if step.operation is not None)
        return sum(torch.Size(step.shape).numel() * (step.operation.terms or 1) for step in counted if step.operation)

    @cached_property
    def faint(self) -> bool:
        """Whether a constant is so near 0 that float32 would lose it."""
        return any(
            bool(((tensor != 0) & (tensor.abs() < SMALLEST[torch.float32])).any())
            for step in self.steps
            for tensor in _tensors(step.operation, set())
        )

    def needs(self, arithmetic: Arithmetic) -> None:
        """Raise NotApplicableError if a step's rounding is not known and is asked for."""
        if arithmetic is Arithmetic.REAL:
            return
        unknown = [step for step in self.steps if step.operation is not None and step.operation.terms is None]
        if unknown:
            raise NotApplicableError(
                f"{unknown[0].name} in layer {unknown[0].layer}: how torch rounds it is not known, so nothing holds "
                "for the float32 network; --arithmetic real bounds the network in real numbers"
            )


def program(
    graph: Graph,
    example: torch.Tensor,
    node: str = "",
    *,
    learning: bool = False,
    tensors: Mapping[str, torch.Tensor] = {},
) -> Program:
    """Return a network as steps.

    Args:
        graph: the network.
        example: an input (1, ...), at which the steps' values are compared with the graph's.
        node: name of the node to bound; "" for the network's output.
        learning: whether bounds have gradients for the weights; the steps are those of one gradient step then.
        tensors: instead of the graph's own, by name.

    Raises:
        UnboundedError: an operator has no rule.
    """
    with torch.set_grad_enabled(learning):
        lowering = _Lowering(graph, example, tensors)
    found = lowering.made[node] if node else lowering.output
    if not isinstance(found, Value):
        raise UnboundedError(f"{node or 'the output'} does not depend on the input")
    if not node and not learning and not _equal(lowering.build.examples[found.index][0], graph(example)):
        raise AnalysisError("the steps do not compute what the network computes: this is a fault of the program")
    steps = {name: value.index for name, value in lowering.made.items() if isinstance(value, Value)}
    return Program(tuple(lowering.build.steps), found.index, steps)


def _equal(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Say whether two ways to compute outputs agree; both may have no number in the same places."""
    size = max(1.0, float(theirs.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    return ours.shape == theirs.shape and torch.allclose(
        ours.double(), theirs.double(), rtol=0, atol=CLOSE * size, equal_nan=True
    )


class _Lowering:
    """Walks the graph once, for a batch of one; what the input does not change is computed on the way."""

    def __init__(self, graph: Graph, example: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
        self.build = Builder(example)
        self._tensors = tensors
        self.made: dict[str, Any] = {}
        self.output: Any = None
        self._module = graph.module
        self._rules: dict[str, Rule] = rules()
        self._layers = {node: name for name, nodes in graph.members.items() for node in nodes}
        for node in graph.module.graph.nodes:
            self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.made[node.name] = self.build.input
        elif node.op == "get_attr":
            own = self._tensors.get(str(node.target))
            tensor = attribute(self._module, str(node.target)) if own is None else own
            self.made[node.name] = tensor if torch.is_grad_enabled() else tensor.detach()
        elif node.op == "output":
            self.output = self._resolved(node.args[0])
            self.output = self.output[0] if isinstance(self.output, list | tuple) else self.output
        else:
            self.build.name, self.build.layer = node.name, self._layers.get(node, node.name)
            self.made[node.name] = self._called(node)

    def _called(self, node: fx.Node) -> Any:
        name, target = operator(node), node.target
        arguments, options = self._resolved(node.args), self._resolved(node.kwargs)
        if name in _ASSERTIONS:
            return None
        if name == "sym_size":
            return int(_shape(arguments[0])[arguments[1]])
        if target is python_operator.getitem:
            return arguments[0][arguments[1]]
        if not _holds((arguments, options), Value, Unbounded):
            assert callable(target)
            if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
                raise UnboundedError(f"{name} in layer {self.build.layer}: it draws other numbers every time")
            return target(*arguments, **options)
        if _holds((arguments, options), Unbounded):
            raise UnboundedError(f"{name} in layer {self.build.layer}: what it reads is not bounded")
        if name not in self._rules or not isinstance(target, torch._ops.OpOverload):
            raise UnboundedError(f"{name} in layer {self.build.layer}: there is no rule to bound this operator")
        try:
            return self._rules[name].lower(Call(name, target, _bound(target, arguments, options), self.build))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:  # what torch says of a use it cannot follow
            reason = " ".join(str(error).split())[:200]
            why = f"it is used in a way that there is no rule for: {reason}"
            raise UnboundedError(f"{name} in layer {self.build.layer}: {why}") from error

    def _resolved(self, argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda node: self.made[node.name])


def _tensors(part: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """Yield the numbers that an operation holds, in whatever it is made of."""
    if isinstance(part, torch.Tensor):
        if part.is_floating_point():
            yield part
    elif id(part) not in seen and isinstance(part, Operation | list | tuple | dict):
        seen.add(id(part))
        inner = (
            part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else vars(part).values()
        )
        for one in inner:
            yield from _tensors(one, seen)


def _bound(target: torch._ops.OpOverload, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by the names of the operator's schema, defaults filled in."""
    schema = target._schema.arguments
    given = {argument.name: value for argument, value in zip(schema, arguments, strict=False)}
    defaults = {argument.name: argument.default_value for argument in schema}
    return {**defaults, **given, **options}


def _holds(argument: Any, *kinds: type) -> bool:
    parts = argument.values() if isinstance(argument, dict) else argument
    if isinstance(argument, dict | list | tuple):
        return any(_holds(part, *kinds) for part in parts)
    return isinstance(argument, kinds)


def _shape(value: Made) -> tuple[int, ...]:
    assert isinstance(value, Value | torch.Tensor)
    return tuple(value.shape)
