"""A victim whose answers are its own, attacked along gradients from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xai.robustness.victim import Victim

Loss = Callable[[torch.Tensor], torch.Tensor]
Lender = Callable[[torch.Tensor, Loss], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


@dataclass
class Borrower(Victim):
    """A model that is fooled where it is fooled itself, whatever showed the way.

    Args:
        lender: gives scores, loss and gradient as `Victim.differentiated` does; its scores are not used.
    """

    lender: Lender | None = None

    def differentiated(self, x: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the model's own scores, and the lender's loss and gradient."""
        if self.lender is None:
            return super().differentiated(x, loss)
        with torch.no_grad():
            scores = self.scores(x)
        _, value, slope = self.lender(x, loss)
        self.backwards += len(x)
        return scores, value, slope


def averaged(victim: Victim, draws: int, moved: Callable[[torch.Tensor], torch.Tensor]) -> Lender:
    """Return a lender of means over random neighbours.

    Args:
        victim: whose gradients they are.
        draws: how many neighbours.
        moved: gives a random neighbour of each of x (n, ...).
    """

    def lend(x: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        drawn = [victim.differentiated(moved(x), loss) for _ in range(draws)]
        scores, value, slope = (torch.stack(parts).mean(0) for parts in zip(*drawn, strict=True))
        return scores, value, slope

    return lend


class StraightThrough(TorchFunctionMode):
    """Within it, operators that round are differentiated as if they did not (Bengio et al. 2013).

    Attributes:
        met: how many such operators were met so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator of a graph."""
        name = func.name() if isinstance(func, torch._ops.OpOverload) else ""
        if name == "aten::_assert_tensor_metadata":
            return None  # it would refuse integers that carry a gradient
        result = func(*args, **(kwargs or {}))
        if name not in _UNROUNDED or not args[0].requires_grad or (name == _CAST and result.is_floating_point()):
            return result
        self.met += 1
        smooth = _UNROUNDED[name](args)
        return smooth + (result.to(smooth.dtype) - smooth).detach()


def _operand(args: Any) -> torch.Tensor:
    value: torch.Tensor = args[0]
    return value


def _quotient(args: Any) -> torch.Tensor:
    value: torch.Tensor = args[0] / args[1]
    return value


_CAST = "aten::_to_copy"
_ROUNDING = ("aten::round", "aten::round.decimals", "aten::floor", "aten::ceil", "aten::trunc", "aten::sign", _CAST)
_DIVIDING = ("aten::floor_divide", "aten::floor_divide.Scalar", "aten::div.Tensor_mode", "aten::div.Scalar_mode")
_UNROUNDED: dict[str, Callable[[Any], torch.Tensor]] = {
    **dict.fromkeys(_ROUNDING, _operand),
    **dict.fromkeys(_DIVIDING, _quotient),
}
