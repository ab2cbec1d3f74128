"""Deep dream: what it raises rises, dead channels are said, and octaves and jitter are what they claim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import IMAGES
from tests.networks import Linear
from xai.api import explain, load
from xai.errors import UsageError
from xai.models.model import Model
from xai.models.samples import sample_images
from xai.reports.run import Found


def dream(model: Model, x: object, target: int = 0, **parameters: object) -> Found:
    run = explain(model, x, methods="deepdream", target=target, parameters={"deepdream": parameters})  # type: ignore[arg-type]
    return run["deepdream"]


def objective(found: Found) -> np.ndarray:
    return found.run.array(found.record, "objective")


@pytest.mark.parametrize("target", range(6))
@pytest.mark.parametrize("start", ["noise", "image"])
def test_the_classs_output_rises_and_the_model_sees_the_class(shapes: Model, target: int, start: str) -> None:
    found = dream(shapes, IMAGES / "ring.png", target, start=start)
    told = objective(found)
    assert len(told) == 41
    assert told[-1] > told[0] + 5
    within = np.delete(np.diff(told), [10, 20, 30])  # between octaves the detail is resampled
    assert (within >= 0).all()
    said = found.record.values["model's answer"].value
    noted = any(note.startswith("The model calls the picture") for note in found.record.notes)
    assert noted == (said != shapes.classes[target])
    assert start == "noise" or not noted
    assert found.record.values["end"].value == pytest.approx(found.record.values["target's output"].value, rel=1e-5)
    assert found.picture.shape == (3, 64, 64)
    assert 0 <= found.picture.min() <= found.picture.max() <= 1


def test_a_channel_and_a_whole_layer_can_be_raised(shapes: Model) -> None:
    layer = shapes.spatial_layer.name
    picture = IMAGES / "ring.png"
    for parameters in ({"layer": layer, "channel": 3}, {"layer": layer}, {"layer": "head", "channel": 2}):
        found = dream(shapes, picture, **parameters)
        told = objective(found)
        assert told[-1] > told[0]
        x = torch.from_numpy(found.picture)[None]
        with torch.no_grad():
            value = shapes.activation(x, shapes.layer(parameters["layer"]))
        expected = value[:, parameters["channel"]].mean() if "channel" in parameters else value.square().mean()
        assert told[-1] == pytest.approx(float(expected), rel=1e-5)
    assert "channel 2 of layer head" in found.record.values["raised"].value
    layered = explain(
        shapes,
        sample_images("shapes"),
        methods="deepdream",
        top=2,
        parameters={"deepdream": {"layer": layer, "channel": 1, "iterations": 1}},
    )
    (alone,) = layered.findings
    assert (alone.target, alone.input, alone.notes) == (None, None, ())
    assert "target's output" not in alone.values


def test_a_dream_from_noise_is_about_the_model_and_made_once_a_target(shapes: Model) -> None:
    pictures = [IMAGES / "star.png", IMAGES / "ring.png", IMAGES / "star.png"]
    run = explain(shapes, pictures, methods="deepdream", parameters={"deepdream": {"iterations": 1}})
    assert [(f.input, f.target.name) for f in run.findings] == [(None, "star"), (None, "ring")]
    alone = explain(shapes, IMAGES / "ring.png", methods="deepdream", parameters={"deepdream": {"iterations": 1}})
    assert np.array_equal(alone["deepdream"].picture, run["deepdream", "ring"].picture)
    both = explain(shapes, pictures[:2], methods="deepdream", parameters={"deepdream": {"start": "image"}})
    assert [f.input for f in both.findings] == ["star", "ring"]


def test_a_step_too_long_is_refused_and_halved(small: Model, noise: torch.Tensor) -> None:
    found = dream(small, noise, 1, start="image", octaves=1, step=1.0)
    assert 0 < found.record.values["steps refused"].value < 10
    assert (np.diff(objective(found)) >= 0).all()
    assert found.record.values["rose"].value is True


def test_a_linear_models_dream_has_a_closed_form() -> None:
    model = load(Linear(), shape=(3, 12, 10))
    x = torch.full((3, 12, 10), 0.5)
    found = dream(model, x, 1, start="image", octaves=1, iterations=3, step=0.01, jitter=0)
    weight = Linear().weight.detach()[1]
    expected = (x + 3 * 0.01 * weight / weight.abs().mean()).clamp(0, 1)
    np.testing.assert_allclose(found.picture, expected, atol=1e-5)


def test_a_dead_channel_is_said() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias[1] = -1000.0
        network[0].bias[0] = 10.0
    model = load(network, shape=(3, 16, 16))
    found = dream(model, torch.rand(3, 16, 16), layer="1", channel=1, iterations=2)
    assert found.record.status == "ok"
    assert np.array_equal(objective(found), np.zeros(9))
    assert found.record.values["steps without gradient"].value == 8
    assert found.record.values["rose"].value is False
    assert any("No gradient reached the picture" in note for note in found.record.notes)
    alive = dream(model, torch.rand(3, 16, 16), layer="1", channel=0, iterations=2)
    assert alive.record.values["steps without gradient"].value == 0


def test_the_seed_is_kept_and_shapes_the_dream(shapes: Model) -> None:
    first, again, other = (
        explain(shapes, IMAGES / "star.png", methods="deepdream", seed=seed)["deepdream"].picture for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"channel": 1}, "without deepdream.layer"),
        ({"layer": "heda"}, "did you mean 'head'"),
        ({"layer": "head", "channel": 6}, "layer 'head' has 6, numbered from 0"),
    ],
)
def test_wrong_layers_and_channels_are_told_before_anything_runs(
    shapes: Model, parameters: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        dream(shapes, IMAGES / "star.png", **parameters)


def test_maps_have_no_picture_and_pictures_no_map(shapes: Model) -> None:
    run = explain(shapes, IMAGES / "star.png", methods=["gradcam", "deepdream"])
    with pytest.raises(UsageError, match="Grad-CAM gives no 'picture'; it gives: map"):
        _ = run["gradcam"].picture
    with pytest.raises(UsageError, match="Deep dream gives no 'map'; it gives: picture, objective"):
        _ = run["deepdream"].map
