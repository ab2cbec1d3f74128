"""Outliers that need no data: inputs that every detector should tell from those that the model was made for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xai.errors import NotApplicableError, UsageError
from xai.models.card import Input
from xai.robustness.filters import convolved
from xai.robustness.warps import about_centre, warped
from xai.runtime import Runtime

_QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])  # of a turn, anticlockwise
_BLUR = 16  # the deviation of the blur is the shorter side over this


@dataclass(frozen=True)
class Probe:
    """A way to make outliers.

    Args:
        summary: what it makes, in one sentence.
        make: of one input (..., rows, columns) float64 in [0, 1], with a source of random numbers.
        plane: whether it needs rows and columns.
    """

    summary: str
    make: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    plane: bool = False


def make_probe(name: str, inputs: torch.Tensor, spec: Input, runtime: Runtime, keys: Sequence[str]) -> torch.Tensor:
    """Return outliers of the same shape, float32 in input units, one for each input.

    Random numbers follow from the run's seed, the probe and the key, so neither order nor batches matter.

    Args:
        name: of PROBES.
        inputs: (n, *spec.shape) in-distribution inputs.
        spec: the input that the model declares.
        runtime: gives the seed.
        keys: what tells each input from others, such as its digest.

    Raises:
        UsageError: no such probe, or not a key for each input.
        NotApplicableError: the inputs have no range, or no rows and columns where the probe needs them.
    """
    if name not in PROBES:
        raise UsageError(f"there is no probe {name!r}; there are: {', '.join(PROBES)}")
    if len(keys) != len(inputs):
        raise UsageError(f"expected a key for each of {len(inputs)} inputs, received {len(keys)}")
    probe = PROBES[name]
    if spec.range is None:
        raise NotApplicableError("probes are made within the inputs' range, and the card gives none: input.range")
    if probe.plane and not spec.is_picture:
        raise NotApplicableError(f"it needs rows and columns, and the model takes inputs of shape {spec.shape}")
    low, high = spec.range
    made = [_one(name, probe, one, low, high, runtime, key) for one, key in zip(inputs, keys, strict=True)]
    return torch.stack(made) if made else inputs.clone()


def _one(
    name: str, probe: Probe, one: torch.Tensor, low: float, high: float, runtime: Runtime, key: str
) -> torch.Tensor:
    rng = np.random.default_rng(runtime.generator("probe", name, key).initial_seed())
    unit = (one.detach().cpu().double().numpy() - low) / (high - low)
    made = np.clip(probe.make(unit, rng), 0, 1)
    return torch.from_numpy(low + (high - low) * made).float().clamp(low, high).to(one.device)


def _constant(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values = rng.random(x.shape[0] if x.ndim == 3 else 1)
    return np.broadcast_to(values.reshape(-1, *[1] * (x.ndim - 1)), x.shape)


def _quarter_turn(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001  # the signature of a probe
    return warped(x, about_centre(x.shape, _QUARTER), "black")


def _blurred(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001  # as above
    deviation = min(x.shape[-2:]) / _BLUR
    offsets = np.arange(-int(3 * deviation) - 1, int(3 * deviation) + 2)
    line = np.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = np.outer(line, line)
    return convolved(x, kernel / kernel.sum(), "edge")


def _shuffled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exchange places; the channels of a place stay together."""
    flat = x.reshape(x.shape[0], -1) if x.ndim == 3 else x.reshape(1, -1)
    return flat[:, rng.permutation(flat.shape[1])].reshape(x.shape)


PROBES: dict[str, Probe] = {
    "noise": Probe("Every value drawn at random, evenly over the range.", lambda x, rng: rng.random(x.shape)),
    "gaussian noise": Probe(
        "Every value drawn from a Gaussian about the middle of the range, a quarter of it wide.",
        lambda x, rng: 0.5 + 0.25 * rng.standard_normal(x.shape),
    ),
    "constant": Probe("One random value everywhere, one a channel of a picture.", _constant),
    "rotation": Probe("The picture, a quarter turn to the left.", _quarter_turn, plane=True),
    "inversion": Probe("The negative.", lambda x, rng: 1 - x),  # noqa: ARG005  # the signature of a probe
    "blur": Probe("The picture, blurred by a Gaussian of a sixteenth of its shorter side.", _blurred, plane=True),
    "pixel shuffle": Probe("The input's values, each at a random place.", _shuffled),
    "dim shift": Probe("The input with little contrast: x * 0.3 + 0.1.", lambda x, rng: 0.3 * x + 0.1),  # noqa: ARG005  # as above
}
