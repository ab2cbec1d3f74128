"""The scalar of the outputs that an analysis is about."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from xai.errors import UsageError, unknown


@dataclass(frozen=True)
class Target:
    """One output: a class's logit where the outputs are logits.

    Args:
        index: position of the output.
        name: its class's name.
    """

    index: int
    name: str

    def __call__(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return this output, (batch,), of outputs (batch, classes)."""
        return outputs[:, self.index]


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
