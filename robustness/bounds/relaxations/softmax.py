"""Softmax and its relatives."""

from __future__ import annotations

import torch

from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value
from xai.robustness.bounds.softmax import LogSumExp, Softmax


class SoftmaxRule(Rule):
    """Softmax, its logarithm, and the logarithm of a sum of exponentials."""

    about = About(
        name="softmax",
        operators=("softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp"),
        interval="exact for softmax and logsumexp: the own number at one end, the others at the other",
        linear="chords and tangents of the exponential and of what is taken of the sum (ER of Wei et al. 2023)",
        rounding="some units a number that is summed, from the steps of torch's kernel and its exponential's measured "
        "error",
    )

    def lower(self, call: Call) -> Made:
        """Move the axis to the end, add one or two steps, and move it back."""
        if call.arguments.get("dtype") not in (None, torch.float32) or call.arguments.get("half_to_float"):
            raise call.refused("another type of numbers")
        x = call.value("self")
        axes = call["dim"] if isinstance(call["dim"], list | tuple) else [call["dim"]]
        if len(axes) != 1:
            raise call.refused("more than one axis")
        axis = axes[0] % len(x.shape)
        last = call.build.arrange(lambda value: value.movedim(axis, -1), x, alone=True)
        found = self._along(call, last)
        if call.operator == "logsumexp" and not call["keepdim"]:
            return call.build.arrange(lambda value: value.squeeze(-1), found, alone=True)
        return call.build.arrange(lambda value: value.movedim(-1, axis), found, alone=True)

    def _along(self, call: Call, x: Value) -> Value:
        numbers = x.shape[-1]
        if "log" not in call.operator:
            return call.build.add(Softmax(numbers), x)
        total = call.build.add(LogSumExp(numbers), x)
        if call.operator == "logsumexp":
            return total
        return call.build.arrange(lambda a, b: a - b, x, total, signs=(1, -1), terms=4)
