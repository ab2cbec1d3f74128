"""Occlusion against captum, a closed form, and its pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as Reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import Linear
from xai.api import explain, load
from xai.errors import UsageError
from xai.explainers.occlusion import starts
from xai.models.model import Model


def occlusion(model: Model, x: torch.Tensor, target: int, **parameters: object) -> np.ndarray:
    return explain(model, x, methods=["occlusion"], target=target, parameters={"occlusion": parameters})[
        "occlusion"
    ].map


@pytest.mark.parametrize(("window", "stride"), [(5, 5), (5, 3), (4, 1), (6, 4), (1, 1)])
@pytest.mark.parametrize("fill", [0.0, 0.35])
def test_it_equals_captum(small: Model, noise: torch.Tensor, window: int, stride: int, fill: float) -> None:
    ours = occlusion(small, noise, 2, window=window, stride=stride, fill=fill)
    theirs = Reference(small.forward).attribute(
        noise[None], sliding_window_shapes=(3, window, window), strides=(3, stride, stride), baselines=fill, target=2
    )
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-4)


def test_it_is_exact_for_a_linear_model(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    weight = Linear().weight.detach()
    contribution = ((x - 0.25) * weight[1]).sum(0).double()
    total, count = torch.zeros(12, 10).double(), torch.zeros(12, 10).double()
    for top in (0, 3, 6, 9):  # the last row of windows is clipped at the border
        for left in (0, 3, 6):
            place = (slice(top, top + 4), slice(left, left + 4))
            total[place] += contribution[place].sum()
            count[place] += 1
    ours = occlusion(linear, x, 1, window=4, stride=3, fill=0.25)
    np.testing.assert_allclose(ours, total / count, atol=2e-5)


def test_windows_of_one_pixel_give_a_linear_models_contributions(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    expected = (x * Linear().weight.detach()[0]).sum(0)
    np.testing.assert_allclose(occlusion(linear, x, 0, window=1, stride=1, fill="black"), expected, atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None)
def test_windows_cover_every_pixel_and_none_starts_outside(size: int, window: int, stride: int) -> None:
    window, stride = min(window, size), min(stride, window, size)
    places = starts(size, window, stride)
    covered = {pixel for start in places for pixel in range(start, min(start + window, size))}
    assert covered == set(range(size))
    assert places[-1] < size


@pytest.mark.parametrize("batch", [1, 3, 7, 1000])
def test_the_batch_size_does_not_matter(small: Model, noise: torch.Tensor, batch: int) -> None:
    one = occlusion(small, noise, 0, window=5, stride=2, batch=2)
    np.testing.assert_allclose(occlusion(small, noise, 0, window=5, stride=2, batch=batch), one, atol=1e-5)


def test_fills_are_in_input_units(noise: torch.Tensor) -> None:
    model = load(Linear((3, 16, 16)), shape=(3, 16, 16), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    named = {
        "image": noise.mean((1, 2)),
        "dataset": torch.tensor((0.1, 0.2, 0.3)),
        "black": torch.zeros(3),
        "white": torch.ones(3),
        "grey": torch.full((3,), 0.5),
    }
    weight = Linear((3, 16, 16)).weight.detach()[0] / 0.5
    for name, colour in named.items():
        expected = ((noise - colour.view(3, 1, 1)) * weight).sum(0)
        np.testing.assert_allclose(occlusion(model, noise, 0, window=1, stride=1, fill=name), expected, atol=1e-4)


def test_memory_limits_the_batch_and_progress_is_told(small: Model, noise: torch.Tensor) -> None:
    told: list[tuple[str, int, int]] = []
    run = explain(small, noise, methods=["occlusion"], measures="none", progress=lambda *step: told.append(step))
    finding = run["occlusion"].record
    assert told[0] == ("Occlusion sensitivity on image", 0, 1)
    assert told[1][1] == 0
    assert told[-1][1] == told[-1][2] == finding.values["windows"].value
    assert 1 <= finding.parameters["batch"] <= 32


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 17}, "window is 17 pixels; the input's shorter side has 16"),
        ({"window": 4, "stride": 5}, "stride is 5, more than the window"),
        ({"fill": 3.0}, "fill is 3; expected a value in"),
        ({"window": 0}, "greater than or equal to 1"),
        ({"windows": 4}, "did you mean 'window'"),
        ({"fill": "blak"}, "fill"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    small: Model, noise: torch.Tensor, parameters: dict, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        occlusion(small, noise, 0, **parameters)


def test_what_a_part_gives_is_put_before_the_whole_model(
    small: Model, noise: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai.models.incremental import Incremental

    right = Incremental.__call__
    monkeypatch.setattr(Incremental, "__call__", lambda self, parts, corners: 1.5 * right(self, parts, corners))
    (finding,) = explain(small, noise, methods="occlusion", measures="none").record.findings
    assert finding.status == "failed"
    assert "expected to give what a whole copy gives" in finding.reason
