"""Gaussians of features: centres of classes, covariances that can be inverted, and distances."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from xai.errors import AnalysisError
from xai.robustness.ood.detectors.base import Given, State

CONSTANT = 1e-10  # of the mean square: less variance than that is rounding


@dataclass(frozen=True)
class Moments:
    """Count, centres and covariances of features, from their sums.

    Args:
        count: how many inputs.
        known: (k,) the classes that have one.
        centres: (k, d) their means.
        within: (d, d) covariance about the classes' means, divided by the count.
        mean: (d,) of all.
        around: (d, d) covariance about it, divided by the count.
    """

    count: int
    known: torch.Tensor
    centres: torch.Tensor
    within: torch.Tensor
    mean: torch.Tensor
    around: torch.Tensor


def moments(sums: State) -> Moments:
    """Return the moments of sums by class; raise AnalysisError if every feature is constant."""
    count, total, outer = sums["count"], sums["sum"], sums["outer"]
    known = torch.nonzero(count)[:, 0]
    number, centres = count.sum(), total[known] / count[known, None]
    mean = total.sum(0) / number
    around = outer / number - mean[:, None] * mean
    within = (outer - (centres * count[known, None]).T @ centres) / number
    if around.diagonal().max() <= CONSTANT * (outer.diagonal().max() / number):
        raise AnalysisError(
            "expected features that differ between images, received the same for all: nothing can be learnt of them; "
            "look at the inputs and their preprocessing"
        )
    return Moments(int(number), known, centres, within, mean, around)


def told(found: Moments, classes: int, notes: list[str]) -> None:
    """Note what makes an estimate weak: classes that are missing or have one image, few images for the dimensions."""
    dimensions = len(found.mean)
    if found.count <= dimensions:
        notes.append(
            f"{found.count} images for {dimensions} features: covariances are mostly the prior's (shrinkage); expected "
            f"more than {dimensions}, and some {10 * dimensions} for a good estimate"
        )
    if len(found.known) < classes:
        notes.append(f"{classes - len(found.known)} of {classes} classes have no image: they have no centre")


def centred_on(given: Given, sums: State, shrinkage: float | None) -> State:
    """Return centres of classes and what whitens features about them: see `squared_distances`."""
    found = moments(sums)
    told(found, len(sums["count"]), given.notes)
    alone = int((sums["count"] == 1).sum())
    if alone == len(found.known):
        raise AnalysisError(
            f"expected classes of two images or more, received {alone} of one image each: their spread is not known"
        )
    if alone:
        given.notes.append(
            f"{alone} of {len(sums['count'])} classes have one image each, which is its class's centre and says "
            "nothing of its spread"
        )
    whitening = whitener(found.within, found.count, shrinkage)
    return {"whitening": whitening, "centres": found.centres @ whitening, "classes": found.known}


def squared_distances(features: torch.Tensor, whitening: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return squared Mahalanobis distances (n, k) of features (n, d) from whitened centres (k, d)."""
    white = features @ whitening
    products = white @ centres.T
    return (white.square().sum(1)[:, None] - 2 * products + centres.square().sum(1)).clamp(min=0)


def whitener(covariance: torch.Tensor, count: int, shrinkage: float | None) -> torch.Tensor:
    """Return a matrix (d, d) whose product with itself transposed is the inverse of the shrunk covariance."""
    shrunk = shrink(covariance, oas(covariance, count) if shrinkage is None else shrinkage)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    if failed:
        raise AnalysisError(
            f"expected a covariance that can be inverted, received a singular one of {count} images and "
            f"{len(covariance)} features; leave the shrinkage to be chosen, or give more images"
        )
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse: torch.Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse.T


def shrink(covariance: torch.Tensor, share: float) -> torch.Tensor:
    """Return the covariance mixed with a sphere of the same trace, whose share is given."""
    sphere = covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return (1 - share) * covariance + share * sphere


def oas(covariance: torch.Tensor, count: int) -> float:
    """Return the sphere's share by Chen, Wiesel, Eldar and Hero 2010, oracle approximating shrinkage: 0 to 1."""
    size = len(covariance)
    squares, trace = float(covariance.square().sum()), float(covariance.trace())
    above = (1 - 2 / size) * squares + trace**2
    below = (count + 1 - 2 / size) * (squares - trace**2 / size)
    return 1.0 if below <= 0 else min(1.0, above / below)
