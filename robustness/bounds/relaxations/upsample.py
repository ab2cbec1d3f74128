"""Pictures made larger or smaller."""

from __future__ import annotations

import torch

from xai.robustness.bounds.affine import Arranged
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule


class UpsampleRule(Rule):
    """Interpolation whose weights are not negative; bicubic has no rule."""

    about = About(
        name="interpolation",
        operators=(
            *(f"upsample_nearest{axes}d" for axes in (1, 2, 3)),
            *(f"_upsample_nearest_exact{axes}d" for axes in (1, 2, 3)),
            "upsample_linear1d",
            "upsample_bilinear2d",
            "upsample_trilinear3d",
            "_upsample_bilinear2d_aa",
        ),
        interval="exact",
        linear="exact",
        rounding="none for the nearest number; else not known, since torch rounds the weights",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        name = "self" if "self" in call.arguments else "input"
        x = call.value(name)
        if "nearest" in call.operator:
            return call.build.arrange(lambda value: call.run({name: value}), x, alone=True, batched=True)

        def function(value: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = call.run({name: value})
            return found

        return call.build.add(Part(Arranged(function, [x.shape], terms=16, batched=True), None), x)
