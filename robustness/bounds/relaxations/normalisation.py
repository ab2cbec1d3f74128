"""Normalisation by figures kept from training."""

from __future__ import annotations

import torch

from xai.robustness.bounds.affine import Scale
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule


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
        x = call.value("input")
        mean, variance = (call.constant(name).double() for name in ("running_mean", "running_var"))
        factor = (variance + call["eps"]).rsqrt()
        factor = factor if call["weight"] is None else factor * call["weight"].double()
        offset = -mean * factor if call["bias"] is None else call["bias"].double() - mean * factor
        shape = (-1, *(1,) * (len(x.shape) - 2))
        value = call.build.add(Scale(factor.reshape(shape), offset.reshape(shape), terms=8), x)
        return value if call.operator == "batch_norm" else (value, torch.empty(0), torch.empty(0))
