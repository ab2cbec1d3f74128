"""Every function of one number that there is a curve for, and what torch computes it with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F

from xai.robustness.bounds import functions
from xai.robustness.bounds.curve import Curve
from xai.robustness.bounds.functions import cut, elu, power, softplus
from xai.robustness.bounds.interval import Interval

NAMED = {name.lower(): value for name, value in vars(functions).items() if isinstance(value, Curve)}
CURVES: dict[str, Curve] = NAMED | {
    "cut": cut(-0.5, 1.0),
    "cut above": cut(-math.inf, 6.0),
    "cut where float32 has no number": cut(-0.1, 0.3),
    "softplus": softplus(2.0, 20.0),
    "softplus early cut": softplus(1.0, 5.0),
    "elu": elu(1.5, 1.0, 1.0),
    "flat elu": elu(0.3, 1.0, 1.0),
    "celu": elu(0.4, 1.0, 1 / 0.4),
    "selu": elu(1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0),
    "cube": power(3.0),
    "fourth power": power(4.0),
    "inverse square": power(-2.0),
    "inverse cube": power(-3.0),
    "power 1.5": power(1.5),
    "power 0.3": power(0.3),
    "power -1.5": power(-1.5),
}
KERNELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softplus": lambda x: F.softplus(x, 2.0),
    "softplus early cut": lambda x: F.softplus(x, 1.0, 5.0),
    "elu": lambda x: F.elu(x, 1.5),
    "flat elu": lambda x: F.elu(x, 0.3),
    "celu": lambda x: F.celu(x, 0.4),
    "selu": F.selu,
}
PERIODIC = ("sin", "cos")


def kernel(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what a network computes."""
    return KERNELS.get(name, CURVES[name].function)


def defined(curve: Curve, lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
    """Say for intervals (n,) whether a curve has a value everywhere in them."""
    if curve.defined is None:
        return torch.ones_like(lower, dtype=torch.bool)
    return curve.defined(Interval(lower[:, None], upper[:, None]))[:, 0]
