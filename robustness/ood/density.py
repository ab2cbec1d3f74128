"""Densities of layers: principal components of each, and a curve of log density along every component."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from xai.errors import AnalysisError
from xai.robustness.ood.detectors.base import Seen, State
from xai.robustness.ood.gaussians import CONSTANT

Curves = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def fit_layers(sample: Mapping[str, torch.Tensor], cutoff: float, curves: Curves, notes: list[str]) -> State:
    """Return axes and curves of every layer, under "layer/what".

    Args:
        sample: (m, channels) by layer.
        cutoff: least share of a layer's variance that a component must hold to be kept.
        curves: makes of values along components (m, k) the first place (k,), the step (k,), log densities (k, steps).
        notes: told which layers are constant.

    Raises:
        AnalysisError: every layer is constant.
    """
    state: State = {}
    for name, rows in sample.items():
        if name == "draw":
            continue
        values = rows.double()
        mean = values.mean(0)
        axes = components(values - mean, cutoff, float(values.square().mean()))
        if axes.shape[1] == 0:
            notes.append(f"layer {name} gives the same for all images and is left out")
            continue
        first, step, logs = curves((values - mean) @ axes)
        state |= {
            f"{name}/{what}": value
            for what, value in {"mean": mean, "axes": axes, "first": first, "step": step, "logs": logs}.items()
        }
    if not state:
        raise AnalysisError("expected layers that differ between images, received the same of every layer for all")
    return state


def components(centred: torch.Tensor, cutoff: float, size: float) -> torch.Tensor:
    """Return the principal axes (channels, k) of rows (m, channels) that hold more than a share of the variance."""
    covariance = centred.T @ centred / max(1, len(centred) - 1)
    found = torch.linalg.eigh(covariance)
    variances: torch.Tensor = found.eigenvalues
    axes: torch.Tensor = found.eigenvectors
    total = variances.clamp(min=0).sum()
    kept = (variances > cutoff * total) & (variances > CONSTANT * size)
    return axes[:, kept].flip(1)


def negative_log_density(seen: Seen, state: State, *, beyond: bool) -> torch.Tensor:
    """Return the sum over all layers and components of minus the log density, (n,).

    Args:
        seen: the inputs.
        state: of `fit_layers`.
        beyond: whether the curves go on in a straight line outside of their range, or stay as they end.
    """
    total = torch.zeros(len(seen), dtype=torch.float64, device=seen.logits.device)
    for name, rows in seen.means.items():
        if f"{name}/axes" in state:
            of = {what: state[f"{name}/{what}"] for what in ("mean", "axes", "first", "step", "logs")}
            places = ((rows.double() - of["mean"]) @ of["axes"] - of["first"]) / of["step"]
            total = total - read_curve(places, of["logs"], beyond=beyond).sum(1)
    return total


def read_curve(places: torch.Tensor, curve: torch.Tensor, *, beyond: bool) -> torch.Tensor:
    """Return curves (k, steps) read at places (n, k), counted in steps, linearly between them."""
    last = curve.shape[1] - 1
    if not beyond:
        places = places.clamp(0, last)
    below = places.floor().clamp(0, last - 1)
    index = below.long().T
    low, high = curve.gather(1, index).T, curve.gather(1, index + 1).T
    return low + (places - below) * (high - low)


def counted(places: torch.Tensor, steps: int) -> torch.Tensor:
    """Return how many values stand at each step, (k, steps), for places (m, k) counted in steps.

    A value between two steps counts for both, by its distance from them, so that no count jumps.
    """
    below = places.floor().clamp(0, steps - 2)
    share, index = places - below, below.long().T
    counts = torch.zeros(places.shape[1], steps, dtype=places.dtype, device=places.device)
    return counts.scatter_add(1, index, (1 - share).T).scatter_add(1, index + 1, share.T)
