"""Functions of one number, with the bends and turns that bounding them needs.

Where the slope changes its course, figures that have no closed form were computed to 17 digits by root finding in 50
digits; tests check each against the float64 derivative on a dense grid. `terms` is about torch's CPU kernels, measured
against float64 over a sample of all float32 numbers, with a margin (tests/robustness/bounds/test_functions.py).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from xai.robustness.bounds.curve import Curve
from xai.robustness.bounds.interval import Interval


def _above_zero(box: Interval) -> torch.Tensor:
    return box.lower > 0


def _not_below_zero(box: Interval) -> torch.Tensor:
    return box.lower >= 0


def _without_zero(box: Interval) -> torch.Tensor:
    return (box.lower > 0) | (box.upper < 0)


def _level(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


def _rising(x: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(x)


def _falling(x: torch.Tensor) -> torch.Tensor:
    return torch.full_like(x, -1.0)


def _sigmoid_slope(x: torch.Tensor) -> torch.Tensor:
    return x.sigmoid() * (-x).sigmoid()


def _silu_slope(x: torch.Tensor) -> torch.Tensor:
    return x.sigmoid() * (1 + x * (-x).sigmoid())


def _mish_slope(x: torch.Tensor) -> torch.Tensor:
    inner = F.softplus(x).tanh()
    return inner + x * x.sigmoid() * (1 - inner.square())


def _normal_density(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def _gelu_slope(x: torch.Tensor) -> torch.Tensor:
    return torch.erfc(-x / math.sqrt(2)) / 2 + x * _normal_density(x)


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu_tanh_slope(x: torch.Tensor) -> torch.Tensor:
    factor = math.sqrt(2 / math.pi)
    twice = 2 * factor * (x + 0.044715 * x**3)  # (1 + tanh(z)) / 2 = sigmoid(2 z)
    steep = 2 * factor * (1 + 3 * 0.044715 * x.square())
    return twice.sigmoid() + x * steep * twice.sigmoid() * (-twice).sigmoid()


SIGMOID = Curve(function=torch.sigmoid, derivatives=(_sigmoid_slope,), bends=(0.0,), least=0.0)
TANH = Curve(function=torch.tanh, derivatives=(lambda x: 1 / x.cosh().square(),), bends=(0.0,))
ERF = Curve(
    function=torch.erf,
    derivatives=(lambda x: torch.exp(-x.square()) * (2 / math.sqrt(math.pi)),),
    bends=(0.0,),
)
ATAN = Curve(function=torch.atan, derivatives=(lambda x: 1 / (1 + x.square()),), bends=(0.0,))
SILU = Curve(
    function=F.silu,
    derivatives=(_silu_slope,),
    bends=(-2.3993572805154676678, 2.3993572805154676678),
    turns=(-1.2784645427610737951,),
    carried=True,
)
MISH = Curve(
    function=F.mish,
    derivatives=(_mish_slope,),
    bends=(-2.25637639636079312, 1.4905711794854284593),
    turns=(-1.1924312145154952121,),
    carried=True,
)
GELU = Curve(
    function=F.gelu,
    derivatives=(_gelu_slope,),
    bends=(-math.sqrt(2), math.sqrt(2)),
    turns=(-0.75179152469356445746,),
    terms=16,
    carried=True,
)
GELU_TANH = Curve(
    function=_gelu_tanh,
    derivatives=(_gelu_tanh_slope,),
    bends=(-1.4185040087908283555, 1.4185040087908283555),
    turns=(-0.75246142207101625849,),
    carried=True,
)
HARDSWISH = Curve(
    function=F.hardswish,
    derivatives=(_level, lambda x: x / 3 + 0.5, _rising),
    bends=(-3.0, 3.0),
    turns=(-3.0, -1.5),
    carried=True,
)
HARDSIGMOID = Curve(
    function=F.hardsigmoid,
    derivatives=(_level, lambda x: torch.full_like(x, 1 / 6), _level),
    bends=(-3.0, 3.0),
    straight=True,
    carried=True,
    least=0.0,
)
LOG_SIGMOID = Curve(function=F.logsigmoid, derivatives=(lambda x: (-x).sigmoid(),))
ABSOLUTE = Curve(
    function=torch.abs,
    derivatives=(_falling, _rising),
    bends=(0.0,),
    turns=(0.0,),
    straight=True,
    terms=0,
    least=0.0,
)
SQUARE = Curve(function=torch.square, derivatives=(lambda x: 2 * x,), turns=(0.0,), terms=1, least=0.0)
EXP = Curve(function=torch.exp, derivatives=(torch.exp,), least=0.0)
EXPM1 = Curve(function=torch.expm1, derivatives=(torch.exp,), least=-1.0)
LOG = Curve(function=torch.log, derivatives=(torch.reciprocal,), defined=_above_zero)
LOG1P = Curve(
    function=torch.log1p,
    derivatives=(lambda x: 1 / (1 + x),),
    defined=lambda box: box.lower > -1,
)
SQRT = Curve(function=torch.sqrt, derivatives=(lambda x: 0.5 * x.rsqrt(),), defined=_not_below_zero, terms=2, least=0.0)
RSQRT = Curve(
    function=torch.rsqrt, derivatives=(lambda x: -0.5 * x.rsqrt() / x,), defined=_above_zero, terms=4, least=0.0
)
RECIPROCAL = Curve(
    function=torch.reciprocal, derivatives=(lambda x: -1 / x.square(),), bends=(0.0,), defined=_without_zero, terms=2
)
SIN = Curve(
    function=torch.sin,
    derivatives=(torch.cos,),
    bends=(-math.pi, 0.0, math.pi),
    turns=(-1.5 * math.pi, -0.5 * math.pi, 0.5 * math.pi, 1.5 * math.pi),
)
COS = Curve(
    function=torch.cos,
    derivatives=(lambda x: -torch.sin(x),),
    bends=(-1.5 * math.pi, -0.5 * math.pi, 0.5 * math.pi, 1.5 * math.pi),
    turns=(-math.pi, 0.0, math.pi),
)


def cut(low: float, high: float) -> Curve:
    """Return what cuts numbers off at both sides; infinity leaves a side open."""
    bends = [low] * (low > -math.inf) + [high] * (high < math.inf)
    slopes = [_level] * (low > -math.inf) + [_rising] + [_level] * (high < math.inf)
    exact = all(bend == float(torch.tensor(bend, dtype=torch.float32)) for bend in bends)
    return Curve(
        function=lambda x: x.clamp(low, high),
        derivatives=tuple(slopes),
        bends=tuple(bends),
        straight=True,
        terms=0 if exact else 1,
    )


def softplus(beta: float, threshold: float) -> Curve:
    """Return log(1 + exp(beta x)) / beta; the network takes x itself where beta x is above the threshold, from 0 on."""
    return Curve(
        function=lambda x: torch.logaddexp(beta * x, torch.zeros_like(x)) / beta,
        derivatives=(lambda x: (beta * x).sigmoid(),),
        carried=True,
        least=0.0,
        jump=math.exp(-threshold) / beta,
    )


def elu(alpha: float, scale: float, input_scale: float) -> Curve:
    """Return scale times x where x is positive, scale alpha (exp(input_scale x) - 1) elsewhere; all three positive."""
    steep = scale * alpha * input_scale
    return Curve(
        function=lambda x: torch.where(x > 0, scale * x, scale * alpha * torch.expm1(input_scale * x.clamp(max=0))),
        derivatives=(lambda x: steep * torch.exp(input_scale * x), lambda x: torch.full_like(x, scale)),
        bends=(0.0,),
    )


def power(exponent: float) -> Curve:
    """Return x to a constant, other than 0 and 1."""
    known = {2.0: SQUARE, 0.5: SQRT, -0.5: RSQRT, -1.0: RECIPROCAL}
    if exponent in known:
        return known[exponent]
    whole = exponent == int(exponent)
    defined = (_without_zero if exponent < 0 else None) if whole else (_above_zero if exponent < 0 else _not_below_zero)
    return Curve(
        function=lambda x: x.pow(exponent),
        derivatives=(lambda x: exponent * x.pow(exponent - 1),),
        bends=(0.0,) if whole else (),
        turns=(0.0,) if whole and exponent > 0 and exponent % 2 == 0 else (),
        terms=8 if whole and abs(exponent) < 16 else None,
        defined=defined,
        least=0.0 if exponent % 2 == 0 or not whole else -math.inf,
    )
