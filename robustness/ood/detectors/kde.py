"""KDE: how rare the layers' values are, by smooth densities."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.density import counted, fit_layers, negative_log_density
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.statistics import Reservoir

_STEPS = 256  # at which a density is computed; between them it is read linearly
_REACH = 3.0  # bandwidths beyond the outermost values
_LEAST = 1e-290  # below it numbers lose digits


class Kde(Detector):
    """Parzen 1962, on principal components of layers as MATLAB's networkDistributionDiscriminator."""

    about = Method(
        name="kde",
        title="KDE",
        summary="How rare an input's values are along the principal components of several layers, by a sum of Gaussian "
        "kernels for each; the logarithms are added up.",
        limits="Components are taken for independent, and each counts alike. Outside of what was seen the logarithm of "
        "the density goes on in a straight line.",
        source="Parzen 1962, On Estimation of a Probability Density Function and Mode; bandwidth: Silverman 1986; on "
        "layers: MATLAB R2026a, networkDistributionDiscriminator",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.LAYERS})

    variance_cutoff: float = Field(
        default=0.001, ge=0, le=1, description="Least share of a layer's variance that a component must hold."
    )
    bandwidth: float = Field(default=1.0, gt=0, le=100, description="Of the kernels, in multiples of Silverman's.")
    sample: int = Field(default=2000, ge=2, le=1_000_000, description="How many images are kept at most.")

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """A sample of the layers' means over places."""
        return (Reservoir(of_layers=True, size=self.sample),)

    def fit(self, given: Given) -> State:
        """Estimate densities along every component."""
        sample = given.sums[self.statistics[0]]
        return fit_layers(sample, self.variance_cutoff, lambda values: densities(values, self.bandwidth), given.notes)

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Add up minus the logarithms of the densities."""
        return negative_log_density(seen, state, beyond=True)


def densities(values: torch.Tensor, factor: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return first place (k,), step (k,) and log densities (k, steps) of values (m, k), by Gaussian kernels.

    The bandwidth is Silverman's for a Gaussian, 0.9 min(deviation, interquartile range / 1.34) m ** -0.2, times factor.
    """
    spread = values.std(0)
    quartiles = np.quantile(values.cpu().numpy(), [0.25, 0.75], axis=0)
    within = torch.from_numpy(quartiles[1] - quartiles[0]).to(spread) / 1.34
    width = 0.9 * torch.where(within > 0, torch.minimum(spread, within), spread) * len(values) ** -0.2 * factor
    first = values.min(0).values - _REACH * width
    step = (values.max(0).values + _REACH * width - first) / (_STEPS - 1)
    shares = counted((values - first) / step, _STEPS) / len(values)
    logs = [smoothed(share, reach) for share, reach in zip(shares, step / width, strict=True)]
    return first, step, torch.stack(logs) - (width * math.sqrt(2 * math.pi)).log()[:, None]


def smoothed(shares: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Return the log (steps,) of the sum of kernels at all steps, weighted by shares (steps,); a step is in widths.

    A kernel depends on the distance alone, so that its heights are computed once. Where their sum is too small for a
    number, far from every share, logarithms are added up.
    """
    count = len(shares)
    distances = step * torch.arange(1 - count, count, dtype=shares.dtype, device=shares.device)
    powers = -0.5 * distances.square()
    sums = powers.exp().unfold(0, count, 1) @ shares  # a row a step, the last step first
    far, logs = sums < _LEAST, sums.log()
    logs[far] = (shares.log() + powers.unfold(0, count, 1)[far]).logsumexp(1)
    return logs.flip(0)
