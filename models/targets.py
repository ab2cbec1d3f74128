"""The scalar of the outputs that an analysis is about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from xai.errors import UsageError, unknown

RUNNER_UP = ("next", "runner-up")  # words for the highest other output of each input


@dataclass(frozen=True)
class Target:
    """One output, a class's logit where the outputs are logits; or by how much it is above another one.

    Args:
        index: position of the output.
        label: its class's name.
        against: the output that is taken away from it: why the one, and not the other.
    """

    index: int
    label: str
    against: Target | None = None

    def __call__(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return this output, less the one that it stands against, (batch,), of outputs (batch, classes)."""
        own = outputs[:, self.index]
        return own if self.against is None else own - self.against(outputs)

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return self.label if self.against is None else f"{self.label} rather than {self.against.label}"

    @property
    def key(self) -> str:
        """What tells it from the other targets of a model."""
        return str(self.index) if self.against is None else f"{self.index}-{self.against.index}"

    @property
    def is_empty(self) -> bool:
        """Whether an output stands against itself, so that there is nothing to explain."""
        return self.against is not None and self.against.index == self.index

    def moved(self, places: int) -> Target:
        """Return the same target of outputs that stand so many places further on."""
        against = None if self.against is None else self.against.moved(places)
        return replace(self, index=self.index + places, against=against)


def find_target(wanted: str | int, classes: tuple[str, ...]) -> Target:
    """Return the target for a class name or index; a name goes before a number that reads the same."""
    if isinstance(wanted, bool | float):
        raise UsageError(f"expected a class's name or index, received {wanted!r}")
    if isinstance(wanted, str) and wanted in classes:
        places = [index for index, name in enumerate(classes) if name == wanted]
        if len(places) > 1:  # as in ImageNet, whose cranes are a bird and a machine
            raise UsageError(f"{len(places)} classes are called {wanted!r}: give one by its number, of {places}")
        return Target(classes.index(wanted), wanted)
    try:
        index = int(wanted)
    except ValueError:
        raise unknown("class", str(wanted), classes) from None
    if not 0 <= index < len(classes):
        raise UsageError(f"there is no class {index}; the model has {len(classes)}, from 0 to {len(classes) - 1}")
    return Target(index, classes[index])


def check_against(wanted: str | int, classes: tuple[str, ...], target: str | int | None) -> None:
    """Raise UsageError if that output can not stand against a target, None for the highest of each input."""
    if len(classes) < 2:
        raise UsageError(
            f"the model has one output, {classes[0]!r}: no other can stand against it; leave --against out"
        )
    if is_runner_up(wanted, classes):
        return
    other = find_target(wanted, classes)
    if target is not None and find_target(target, classes).index == other.index:
        raise UsageError(f"target and against are both {other.label!r}: give another class, or {RUNNER_UP[0]!r}")


def contrast(target: Target, wanted: str | int, outputs: torch.Tensor, classes: tuple[str, ...]) -> Target:
    """Return the target against another output.

    Args:
        target: one output.
        wanted: the class against it, by name or index; or a word for the highest of the others.
        outputs: (classes,) of the input.
        classes: the outputs' names.
    """
    if not is_runner_up(wanted, classes):
        return replace(target, against=find_target(wanted, classes))
    others = outputs.double().cpu().clone()
    others[target.index] = -torch.inf
    return replace(target, against=find_target(int(others.argmax()), classes))


def is_runner_up(wanted: str | int, classes: tuple[str, ...]) -> bool:
    """Say whether the highest other output is meant: a class of that name goes before."""
    return wanted in RUNNER_UP and wanted not in classes
