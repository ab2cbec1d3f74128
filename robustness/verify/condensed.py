"""A network in fewer steps: the search goes through them many thousands of times."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from xai.robustness.bounds.affine import Linear, Scale
from xai.robustness.bounds.analysis import Step
from xai.robustness.bounds.program import Program


def condensed(program: Program) -> Program:
    """Return the same network, with a constant that is added to a matrix product as the matrix's own.

    No number is computed for that, so that nothing is rounded.
    """
    users = Counter(source for step in program.steps for source in step.inputs)
    place: dict[int, int] = {}
    steps: list[Step] = []
    for index, step in enumerate(program.steps):
        alone = step.inputs == (index - 1,) and users[index - 1] == 1 and program.output != index - 1
        joined = _joined(steps[-1], step) if alone else None
        if joined is None:
            steps.append(replace(step, inputs=tuple(place[source] for source in step.inputs)))
        else:
            steps[-1] = joined
        place[index] = len(steps) - 1
    nodes = {name: place[index] for name, index in program.nodes.items() if not _is_gone(program, index, place)}
    return Program(tuple(steps), place[program.output], nodes)


def _joined(product: Step, sum_: Step) -> Step | None:
    """Return a matrix product and the sum after it as one step, if they are that."""
    matrix, constant = product.operation, sum_.operation
    if not isinstance(matrix, Linear) or not isinstance(constant, Scale) or matrix.bias is not None:
        return None
    if constant.offset is None or not bool((constant.factor == 1).all()) or product.shape != sum_.shape:
        return None
    whole = Linear(matrix.weight, constant.offset)
    whole.terms = matrix.terms + constant.terms
    return replace(sum_, operation=whole, inputs=product.inputs)


def _is_gone(program: Program, index: int, place: dict[int, int]) -> bool:
    """Say whether a step's value is no longer there."""
    return index + 1 < len(program.steps) and place[index] == place[index + 1]
