"""Normalisation: by figures kept from training, or by the numbers' own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from xai.robustness.bounds.affine import Arranged, Scale
from xai.robustness.bounds.elementwise import Elementwise
from xai.robustness.bounds.functions import RSQRT, SQUARE
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Unbounded, Value
from xai.robustness.bounds.standard import Centred, Standardised


class BatchNormRule(Rule):
    """Batch normalisation of a trained network: a factor and a shift for each channel."""

    about = About(
        name="batch normalisation",
        operators=("_native_batch_norm_legit_no_training", "batch_norm", "native_batch_norm"),
        interval="exact",
        linear="exact",
        rounding="eight roundings, relative to the sizes of its terms",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        if call.arguments.get("training") or call.arguments.get("train"):
            raise call.refused("it takes its figures from the batch")
        value = _by_figures(call, call.value("input"))
        return value if call.operator == "batch_norm" else (value, Unbounded(), Unbounded())


class OwnNormRule(Rule):
    """Normalisation of groups of numbers by their own mean and variance."""

    about = About(
        name="normalisation",
        operators=("layer_norm", "native_layer_norm", "group_norm", "instance_norm", "rms_norm"),
        interval="of the centred numbers exact, as if they were free of each other: never above the root of their "
        "count",
        linear="as of its steps: square, mean, one over the root, product",
        rounding="not known: it differs from kernel to kernel",
    )

    def lower(self, call: Call) -> Made:
        """Join what is normalised together in a last axis, add the steps, and weigh the outcome."""
        x = call.value("input")
        if call.operator == "instance_norm" and not call["use_input_stats"]:
            return _by_figures(call, x)
        grouped, weights = _groups(call, x.shape)
        value = call.build.arrange(lambda tensor: tensor.reshape(grouped), x, alone=True)
        if call.operator != "rms_norm":
            value = call.build.add(Centred(grouped[-1]), value)
        value = _standardised(call, value)
        shaped = Part(Arranged(lambda tensor: tensor.reshape(x.shape), [value.shape], alone=True), None)
        value = _weighed(call, call.build.add(shaped, value), weights)
        return (value, Unbounded(), Unbounded()) if call.operator == "native_layer_norm" else value


def _by_figures(call: Call, x: Value) -> Value:
    mean, variance = (call.constant(name).double() for name in ("running_mean", "running_var"))
    factor = (variance + call["eps"]).rsqrt()
    factor = factor if call["weight"] is None else factor * call["weight"].double()
    shift = torch.zeros_like(factor) if call["bias"] is None else call["bias"].double()
    shape = (-1, *(1,) * (len(x.shape) - 2))
    offset, sizes = (part.reshape(shape) for part in (shift - mean * factor, shift.abs() + (mean * factor).abs()))
    return call.build.add(Scale(factor.reshape(shape), offset, terms=8, made_of=sizes), x)


def _groups(call: Call, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape with what is normalised together as last axis, and that of the weights."""
    channels = (-1, *(1,) * (len(shape) - 2))
    if call.operator == "group_norm":
        return (shape[0], call["num_groups"], math.prod(shape[1:]) // call["num_groups"]), channels
    if call.operator == "instance_norm":
        return (*shape[:2], math.prod(shape[2:])), channels
    axes = len(call["normalized_shape"])
    return (*shape[: len(shape) - axes], math.prod(shape[len(shape) - axes :])), tuple(shape[len(shape) - axes :])


def _standardised(call: Call, value: Value) -> Value:
    """Return numbers over the root of their mean square along the last axis."""
    eps = torch.finfo(torch.float32).eps if call["eps"] is None else float(call["eps"])
    squares = call.build.add(Elementwise(SQUARE), value)
    mean = call.build.arrange(lambda x: x.mean(-1, keepdim=True), squares, terms=value.shape[-1] + 2)
    shifted = call.build.add(Scale(torch.ones(()), torch.tensor(eps, dtype=torch.float64)), mean)
    root = call.build.add(Elementwise(RSQRT), shifted)
    repeated = call.build.arrange(lambda x: x.expand(value.shape), root, alone=True)
    return call.build.add(Standardised(eps), value, repeated)


def _weighed(call: Call, value: Value, shape: tuple[int, ...]) -> Value:
    weight, bias = (_constant(call, name) for name in ("weight", "bias"))
    if weight is None and bias is None:
        return value
    factor = torch.ones(()) if weight is None else weight.reshape(shape)
    return call.build.add(Scale(factor, None if bias is None else bias.reshape(shape)), value)


def _constant(call: Call, name: str) -> Any:
    return call.constant(name) if call.arguments.get(name) is not None else None
