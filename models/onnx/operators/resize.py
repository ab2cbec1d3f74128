"""Resampling of rows and columns."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from xai.models.onnx.operators.base import Dims, Node, UnsupportedError, check_size, ints, operator

_HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")
_MODES = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}


@operator("Resize", how=(1, 2, 3))
def resize(
    node: Node, x: Tensor, roi: Dims | None = None, scales: Dims | None = None, sizes: Dims | None = None
) -> Tensor:
    """By sizes or by scales; before opset 11 the scales were the second input, and places asymmetric."""
    refused = [name for name in ("axes", "antialias", "exclude_outside") if node.get(name)]
    if refused or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedError(", ".join(refused) or "keep_aspect_ratio_policy")
    if node.opset < 11:
        return _resampled(node, x, roi, None, "asymmetric", "floor")
    places = node.get("coordinate_transformation_mode", "half_pixel")
    return _resampled(node, x, scales, sizes, places, node.get("nearest_mode", "round_prefer_floor"))


@operator("Upsample", how=(1,))
def upsample(node: Node, x: Tensor, scales: Dims | None = None) -> Tensor:
    """What Resize was before opset 10."""
    given = np.asarray(node["scales"]) if scales is None else scales
    return _resampled(node, x, given, None, "asymmetric", "floor")


def _resampled(node: Node, x: Tensor, scales: Dims | None, sizes: Dims | None, places: str, rounding: str) -> Tensor:
    """Return x (batch, channels, ...) at its new size."""
    factors = _factors(x, scales, sizes)
    target = [math.floor(size * factor) for size, factor in zip(x.shape[2:], factors, strict=True)]
    if sizes is not None and sizes.size:
        target = ints(sizes)[2:]
    check_size([*x.shape[:2], *target])
    mode = node.get("mode", "nearest")
    if mode == "nearest":
        if not _is_torchs_nearest(places, rounding, factors):
            raise UnsupportedError(f"nearest neighbours by {places} and {rounding}")
        return F.interpolate(x, size=target, mode="nearest")
    name = _MODES.get((mode, x.ndim - 2))
    if name is None or places not in (*_HALF_PIXEL, "align_corners") or node.get("cubic_coeff_a", -0.75) != -0.75:
        raise UnsupportedError(f"{mode} over {x.ndim - 2} axes by {places}")
    if places == "align_corners":
        return F.interpolate(x, size=target, mode=name, align_corners=True)
    return F.interpolate(x, scale_factor=factors, mode=name, align_corners=False, recompute_scale_factor=False)


def _factors(x: Tensor, scales: Dims | None, sizes: Dims | None) -> list[float]:
    """Return by how much each axis behind the channels grows."""
    if sizes is not None and sizes.size == x.ndim:
        new = ints(sizes)
        if isinstance(new[1], int) and new[1] != x.shape[1]:
            raise UnsupportedError("the channels are resampled")
        return [wanted / size for wanted, size in zip(new[2:], x.shape[2:], strict=True)]
    if scales is None or np.asarray(scales).size != x.ndim:
        raise UnsupportedError("neither sizes nor scales are given")
    factors = [float(factor) for factor in np.asarray(scales).reshape(-1).tolist()]
    if factors[:2] != [1, 1] or min(factors) <= 0:
        raise UnsupportedError("the batch or the channels are resampled")
    return factors[2:]


def _is_torchs_nearest(places: str, rounding: str, factors: list[float]) -> bool:
    """Say whether the neighbour that torch takes, floor(i / factor), is the one that the node wants."""
    whole = all(factor == int(factor) for factor in factors)
    if places == "asymmetric":
        return rounding == "floor" or (rounding == "round_prefer_floor" and whole and max(factors) <= 2)
    return places in _HALF_PIXEL and whole and rounding.startswith("round_prefer")
