"""Norms of differences between inputs, and what attacks need of them; all sums of squares and sizes are float64."""

from __future__ import annotations

import math
from enum import StrEnum

import torch

SMALLEST = 1e-30
SLIDE = 0.01  # share of the coordinates that an l1 step moves (Tramer and Boneh 2019)


class Norm(StrEnum):
    """How the size of a change of an input is measured, over all of its numbers."""

    LINF = "linf"
    L2 = "l2"
    L1 = "l1"


def size(delta: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the norm (n,) float64 of differences (n, ...)."""
    flat = delta.flatten(1).double()
    if norm is Norm.LINF:
        return flat.abs().amax(1)
    return flat.square().sum(1).sqrt() if norm is Norm.L2 else flat.abs().sum(1)


def diameter(width: float, numbers: int, norm: Norm) -> float:
    """Return the largest distance of two inputs of so many numbers, each from a range of that width."""
    return width * {Norm.LINF: 1.0, Norm.L2: math.sqrt(numbers), Norm.L1: float(numbers)}[norm]


def each(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return values (n,) so that they multiply (n, ...) row by row, in its dtype."""
    return values.to(like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def shrink(delta: torch.Tensor, radius: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the nearest difference (Euclidean) to each of (n, ...) whose norm is at most radius (n,)."""
    if norm is Norm.LINF:
        limit = each(radius, delta)
        return torch.minimum(torch.maximum(delta, -limit), limit)
    if norm is Norm.L2:
        return delta * each((radius / size(delta, norm).clamp(min=SMALLEST)).clamp(max=1), delta)
    return shrink_l1(delta, radius, torch.full_like(delta, torch.inf))


def shrink_l1(delta: torch.Tensor, radius: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """Return the nearest difference to each of (n, ...) with l1 norm up to radius (n,) and no number beyond its room.

    Sizes are lowered by one threshold a row and cut at the room: what is left falls along straight pieces as the
    threshold rises, and the piece that meets the radius is found by sorting (Duchi et al. 2008; with the room Croce
    and Hein 2021).

    Args:
        delta: differences.
        radius: largest l1 norm.
        room: (n, ...) largest size of each number, not negative.
    """
    sizes, cap = delta.flatten(1).double().abs(), room.flatten(1).double()
    starts, ends = (sizes - cap).clamp(min=0), sizes  # of the thresholds at which a number shrinks
    knots, order = torch.cat((starts, ends), dim=1).sort(dim=1)
    shrinking = torch.where(order < sizes.shape[1], 1.0, -1.0).double().cumsum(1)[:, :-1]
    left = torch.minimum(sizes, cap).sum(1, keepdim=True) - (shrinking * knots.diff(dim=1)).cumsum(1)
    piece = (left > radius.double()[:, None]).sum(1, keepdim=True).clamp(max=left.shape[1] - 1)
    over = left.gather(1, piece) - radius.double()[:, None]
    threshold = knots.gather(1, piece + 1) + over / shrinking.gather(1, piece).clamp(min=1)
    kept = torch.minimum((sizes - threshold.clamp(min=0)).clamp(min=0), cap)
    kept = kept * (radius.double() / kept.sum(1).clamp(min=SMALLEST)).clamp(max=1)[:, None]  # against rounding
    return (delta.flatten(1).sign() * kept).to(delta.dtype).reshape(delta.shape)


def steepest(gradient: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the direction (n, ...) of norm one along which a function with that gradient rises most.

    For l1 that is a single coordinate; the strongest hundredth of them shares the step instead (SLIDE).
    """
    if norm is Norm.LINF:
        return gradient.sign()
    if norm is Norm.L2:
        return gradient / each(size(gradient, norm).clamp(min=SMALLEST), gradient)
    flat = gradient.flatten(1).abs()
    count = max(1, round(SLIDE * flat.shape[1]))
    strong = flat >= flat.topk(count, dim=1).values[:, -1:]
    signs = gradient.sign() * strong.reshape(gradient.shape)
    return signs / each(signs.flatten(1).abs().sum(1).clamp(min=1), signs)


def random_in_ball(like: torch.Tensor, radius: float, norm: Norm, generator: torch.Generator) -> torch.Tensor:
    """Return differences (n, ...) drawn uniformly from the ball of that radius."""
    flat = like.flatten(1)
    count, numbers = flat.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=like.device, generator=generator)

    if norm is Norm.LINF:
        drawn = 2 * uniform(count, numbers) - 1
    elif norm is Norm.L2:
        normal = torch.randn(count, numbers, device=like.device, generator=generator)
        drawn = normal / each(size(normal, norm), normal) * uniform(count, 1) ** (1 / numbers)
    else:
        gaps = -uniform(count, numbers + 1).clamp(min=SMALLEST).log()
        signs = torch.where(uniform(count, numbers) < 0.5, -1.0, 1.0)
        drawn = signs * gaps[:, 1:] / gaps.sum(1, keepdim=True)
    return (radius * drawn).to(like.dtype).reshape(like.shape)
