"""Functions of one number: activations, roots, powers, exponentials."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xai.robustness.bounds.curve import Curve
from xai.robustness.bounds.elementwise import Elementwise, Wave
from xai.robustness.bounds.functions import (
    ABSOLUTE,
    ATAN,
    COS,
    ERF,
    EXP,
    EXPM1,
    GELU,
    GELU_TANH,
    HARDSIGMOID,
    HARDSWISH,
    LOG,
    LOG1P,
    LOG_SIGMOID,
    MISH,
    RSQRT,
    SIGMOID,
    SILU,
    SIN,
    SQRT,
    SQUARE,
    TANH,
    elu,
    power,
    softplus,
)
from xai.robustness.bounds.product import Times
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule

SELU = elu(1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


def _elu(call: Call) -> Curve:
    figures = [float(call[name]) for name in ("alpha", "scale", "input_scale")]
    if min(figures) <= 0:
        raise call.refused("factors that are not positive")
    return elu(*figures)


def _celu(call: Call) -> Curve:
    alpha = float(call["alpha"])
    if alpha <= 0:
        raise call.refused("alpha that is not positive")
    return elu(alpha, 1.0, 1 / alpha)


def _gelu(call: Call) -> Curve:
    return GELU_TANH if call["approximate"] == "tanh" else GELU


def _softplus(call: Call) -> Curve:
    beta = float(call["beta"])
    if beta <= 0:
        raise call.refused("beta that is not positive")
    threshold = float(call["threshold"])
    if threshold < 0:
        raise call.refused("a negative threshold: it jumps there, far below the function")
    return softplus(beta, threshold)


CHOSEN: dict[str, Curve | Callable[[Call], Curve]] = {
    "abs": ABSOLUTE,
    "atan": ATAN,
    "celu": _celu,
    "elu": _elu,
    "erf": ERF,
    "exp": EXP,
    "expm1": EXPM1,
    "gelu": _gelu,
    "hardsigmoid": HARDSIGMOID,
    "hardswish": HARDSWISH,
    "log": LOG,
    "log1p": LOG1P,
    "log_sigmoid": LOG_SIGMOID,
    "mish": MISH,
    "rsqrt": RSQRT,
    "selu": SELU,
    "sigmoid": SIGMOID,
    "silu": SILU,
    "softplus": _softplus,
    "sqrt": SQRT,
    "square": SQUARE,
    "tanh": TANH,
}


class ActivationRule(Rule):
    """Functions that change each number by itself."""

    about = About(
        name="function",
        operators=tuple(CHOSEN),
        interval="exact: the values at the ends and at the turns between them; where the function has no value at some "
        "number of the interval, nothing is known",
        linear="of the chord, the tangent in the middle and the tangents through the ends, those nearest in the middle",
        rounding="none for abs; one or two for roots and squares; else at most 8 units of 2**-24 (gelu 16) relative to "
        "the output, for some to the input, too: measured on torch's CPU kernels over the range of float32",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        chosen = CHOSEN[call.operator]
        curve = chosen if isinstance(chosen, Curve) else chosen(call)
        return call.build.add(Elementwise(curve), call.value("self"))


class WaveRule(Rule):
    """Sine and cosine."""

    about = About(
        name="wave",
        operators=("sin", "cos"),
        interval="exact",
        linear="as of any function; -1 and 1 over a whole period",
        rounding="at most 8 units of 2**-24, measured on torch's CPU kernels over the range of float32",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        return call.build.add(Wave(SIN if call.operator == "sin" else COS), call.value("self"))


class GateRule(Rule):
    """Gated linear units: one half times the sigmoid of the other."""

    about = About(
        name="gate",
        operators=("glu",),
        interval="the four products of ends",
        linear="the sigmoid's lines, then McCormick's planes",
        rounding="that of the sigmoid, and one",
    )

    def lower(self, call: Call) -> Made:
        """Add the halves, the sigmoid and the product."""
        x = call.value("self")
        first, second = (
            call.build.arrange(lambda value, i=i: value.chunk(2, call["dim"])[i], x, alone=True) for i in range(2)
        )
        return call.build.add(Times(), first, call.build.add(Elementwise(SIGMOID), second))


class PowerRule(Rule):
    """Powers with a constant exponent."""

    about = About(
        name="power",
        operators=("pow",),
        interval="exact; a base that may be 0 or negative where that has no power: nothing is known",
        linear="as of any function",
        rounding="eight units of 2**-24 for whole exponents below 16, measured; others are not known",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        exponent = call["exponent"]
        if not isinstance(exponent, int | float):
            raise call.refused("an exponent that is not one number")
        value = call.value("self")
        if exponent == 0:
            return torch.ones(value.shape)
        return value if exponent == 1 else call.build.add(Elementwise(power(float(exponent))), value)
