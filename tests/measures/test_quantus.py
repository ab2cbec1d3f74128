"""Measures against Quantus 0.6 on the same maps: what must be equal is, and what cannot be is named with its reason.

- Pointing: equal where the highest place is one pixel. Of several equally high ones ours asks for most of them on the
  object, theirs for any.
- Mass on the object: equal for maps that are not negative. Theirs divides by the sum of all values, ours by the sum of
  what speaks for the target, so a signed map has another figure.
- Max-sensitivity: equal on the same neighbours.
- Deletion: equal points of the curve on one channel; ours begins with the whole picture. On several channels theirs
  covers single numbers, ours whole pixels.
- Infidelity: not equal. Theirs covers the squares of a grid one after the other without uncovering them, and takes the
  map's scale as it is: a map three times as large has another figure. Ours is tested against captum's, the paper's.
- Randomisation: the same likeness of two maps. Theirs draws one network, ours counts draws, so the scores differ.
- Insertion: theirs has none.
- Relevance rank accuracy: theirs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.measures.subjects import gradient, subject
from xai.measures.base import rank_correlation
from xai.measures.deletion import Deletion
from xai.measures.infidelity import Infidelity, max_sensitivity
from xai.measures.pointing import Pointing
from xai.models.model import Model
from xai.models.samples.digits import held_out
from xai.runtime import Runtime

quantus = pytest.importorskip("quantus", reason="quantus is not installed", exc_type=ImportError)
PLAIN = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
LABEL = 3


class Network(nn.Module):
    """A model as Quantus wants it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


@pytest.fixture(scope="module")
def digit() -> torch.Tensor:
    images, labels = held_out(0, 60)
    return images[labels == LABEL][0]


def asked(metric: Any, model: Model, x: torch.Tensor, map_: np.ndarray, **options: Any) -> Any:
    """Return what a metric of Quantus says of one map."""
    network = Network(model).eval()
    batch = {"x_batch": x[None].numpy(), "y_batch": np.array([LABEL]), "a_batch": map_[None, None]}
    return metric(model=network, **batch, device="cpu", channel_first=True, **options)[0]


def fixed(map_: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda *_: map_


def map_of(digits: Model, digit: torch.Tensor) -> np.ndarray:
    rng = np.random.default_rng(0)
    found: np.ndarray = gradient(digits, digit, digits.target(LABEL)) + 1e-4 * rng.random((8, 8))  # no two are equal
    return found.astype(np.float32)


@pytest.mark.parametrize("on_object", [True, False])
def test_the_pointing_game_says_the_same(digits: Model, digit: torch.Tensor, on_object: bool) -> None:
    map_ = map_of(digits, digit)
    mask = (map_ == map_.max()) == on_object
    ours = Pointing().measure(subject(digits, digit, fixed(map_), LABEL, mask), Runtime())
    theirs = asked(quantus.PointingGame(**PLAIN), digits, digit, map_, s_batch=mask[None, None].astype(float))
    assert ours.values["hit"].value == bool(theirs) == on_object


def test_the_mass_on_the_object_is_the_same_for_maps_that_are_not_negative(digits: Model, digit: torch.Tensor) -> None:
    signed, mask = map_of(digits, digit), digit[0].numpy() > 0.5
    for map_, same in ((np.abs(signed), True), (signed, False)):
        ours = Pointing().measure(subject(digits, digit, fixed(map_), LABEL, mask), Runtime()).values["mass"].value
        theirs = asked(
            quantus.RelevanceMassAccuracy(**PLAIN), digits, digit, map_, s_batch=mask[None, None].astype(float)
        )
        assert (ours == pytest.approx(float(theirs), rel=1e-4)) == same


def test_max_sensitivity_is_the_same_on_the_same_neighbours(digits: Model, digit: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    neighbours = [digit + 0.04 * torch.rand(digit.shape, generator=generator) - 0.02 for _ in range(6)]
    target = digits.target(LABEL)
    given = cycle(neighbours)
    metric = quantus.MaxSensitivity(
        nr_samples=6,
        perturb_func=lambda arr, **_: next(given).reshape(1, -1).numpy().copy(),
        return_nan_when_prediction_changes=False,
        **PLAIN,
    )
    theirs = asked(
        metric,
        digits,
        digit,
        gradient(digits, digit, target),
        explain_func=lambda model, inputs, targets, **_: np.stack(
            [gradient(digits, torch.from_numpy(x).float(), target)[None] for x in inputs]
        ),
    )
    maps = [gradient(digits, x, target) for x in (digit, *neighbours)]
    assert max_sensitivity(maps[0], maps[1:]) == pytest.approx(float(theirs), rel=1e-4)


def test_the_deletion_curve_has_the_same_points(digits: Model, digit: torch.Tensor) -> None:
    map_ = map_of(digits, digit)
    judged = Deletion(steps=8, fill="black").measure(subject(digits, digit, fixed(map_), LABEL), Runtime())
    metric = quantus.PixelFlipping(features_in_step=8, perturb_baseline="black", **PLAIN)
    theirs = asked(metric, digits, digit, map_, softmax=False)
    deleted = judged.arrays["curves"][0][0]
    assert deleted[1:] == pytest.approx(np.array(theirs), rel=1e-4, abs=1e-4)
    with torch.no_grad():
        assert deleted[0] == pytest.approx(float(digits(digit[None])[0, LABEL]), rel=1e-5)


def test_maps_of_redrawn_networks_are_as_alike(digits: Model, digit: torch.Tensor) -> None:
    rng = np.random.default_rng(1)
    for other in (map_of(digits, digit), rng.random((8, 8)), np.round(4 * rng.random((8, 8)))):
        theirs = quantus.similarity_func.correlation_spearman(map_of(digits, digit).ravel(), other.ravel())
        assert rank_correlation(map_of(digits, digit), other) == pytest.approx(float(theirs), abs=1e-9)


def test_infidelity_is_another_figure_since_theirs_hangs_on_the_maps_scale(digits: Model, digit: torch.Tensor) -> None:
    map_ = map_of(digits, digit)
    metric = quantus.Infidelity(perturb_patch_sizes=[4], n_perturb_samples=1, **PLAIN)

    def both(scale: float) -> tuple[float, float]:
        def scaled(*_: object) -> np.ndarray:
            return scale * map_

        ours = Infidelity(squares=50, neighbours=1, fill="black").measure(
            subject(digits, digit, scaled, LABEL), Runtime()
        )
        return float(asked(metric, digits, digit, scale * map_)), float(ours.values["infidelity"].value or 0)

    (theirs, ours), (theirs_scaled, ours_scaled) = both(1.0), both(3.0)
    assert ours_scaled == pytest.approx(ours, rel=1e-6)
    assert abs(theirs_scaled - theirs) > 0.1 * abs(theirs)
