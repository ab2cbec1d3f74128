"""Feature visualisation: channels rise, dead ones are said, and a channel's picture is its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import IMAGES
from tests.networks import Branching
from tests.reports.test_page import Checker
from tests.reports.test_renderings import words
from xai.api import explain, load
from xai.ascent.climb import clouds, smoothed
from xai.cli.main import run as command
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.check import check
from xai.reports.html.page import render
from xai.reports.run import Found
from xai.reports.table import rows

NAME = "featurevisualization"


def shown(model: Model, x: object, **parameters: object) -> Found:
    run = explain(model, x, methods=NAME, parameters={NAME: {"iterations": 8, **parameters}})  # type: ignore[arg-type]
    return run[NAME]


def array(found: Found, name: str) -> np.ndarray:
    return found.run.array(found.record, name)


def means(model: Model, pictures: np.ndarray, layer: str) -> np.ndarray:
    """Return mean activations (n, channels), the plain way."""
    with torch.no_grad():
        value = model.activation(torch.from_numpy(pictures), model.layer(layer))
    return value.flatten(2).mean(2).numpy() if value.ndim > 2 else value.numpy()


def test_each_picture_raises_its_channel_and_the_rise_is_told(shapes: Model) -> None:
    layer = shapes.spatial_layer.name
    found = shown(shapes, IMAGES / "star.png", channels="3,12,7")
    assert array(found, "channels").tolist() == [3, 12, 7]
    assert found.pictures.shape == (3, 3, 64, 64)
    assert 0 <= found.pictures.min() <= found.pictures.max() <= 1
    told, reached = array(found, "objectives"), array(found, "reached")
    assert told.shape == (3, 9)
    assert (np.diff(told) >= 0).all(), "steps that lower it are refused"
    assert (reached > 5 * told[:, 0]).all()
    expected = means(shapes, found.pictures, layer)[[0, 1, 2], [3, 12, 7]]
    np.testing.assert_allclose(reached, expected, rtol=1e-5)
    np.testing.assert_allclose(told[:, -1], expected, rtol=1e-5)
    assert found.values["channel 12, after"].value == reached[1]
    assert (found.values["rose"].value, found.record.input, found.record.target) == (3, None, None)


def test_the_input_chooses_the_strongest_channels(shapes: Model) -> None:
    found = shown(shapes, IMAGES / "star.png", count=4, iterations=1)
    strengths = means(shapes, shapes.prepare(IMAGES / "star.png").tensor[None].numpy(), shapes.spatial_layer.name)[0]
    order = np.argsort(-strengths, kind="stable")[:4]
    assert array(found, "channels").tolist() == order.tolist()
    np.testing.assert_allclose(array(found, "of the input"), strengths[order], rtol=1e-6)
    assert found.record.input == "star"
    by_default = shown(shapes, IMAGES / "star.png", iterations=1)
    assert len(by_default.pictures) == 9


def test_channels_can_be_spread_over_the_layer(shapes: Model) -> None:
    found = shown(shapes, IMAGES / "star.png", choose="spread", count=3, iterations=1)
    assert array(found, "channels").tolist() == [0, 48, 95]
    assert found.record.input is None
    few = shown(shapes, IMAGES / "star.png", layer="head", choose="spread", iterations=1)
    assert array(few, "channels").tolist() == list(range(6)), "a layer without places has units"


def test_a_channels_picture_is_the_same_whatever_chose_it(shapes: Model) -> None:
    chosen = shown(shapes, IMAGES / "star.png", count=2, iterations=2)
    first = int(array(chosen, "channels")[0])
    named = shown(shapes, IMAGES / "ring.png", channels=[first], iterations=2)
    assert np.array_equal(chosen.pictures[0], named.pictures[0])
    run = explain(shapes, IMAGES / "ring.png", methods=NAME, seed=1, parameters={NAME: {"channels": first}})
    assert not np.array_equal(run[NAME].pictures[0], named.pictures[0])


def test_a_dead_channel_is_said_and_the_others_are_shown() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias[1] = -1000.0
        network[0].bias[0] = 10.0
    found = shown(load(network, shape=(3, 16, 16)), torch.rand(3, 16, 16), layer="1", channels="0,1")
    (note,) = found.record.notes
    assert note.startswith("Nothing raises channel 1:")
    assert found.values["rose"].value == 1
    assert (array(found, "reached")[1], array(found, "objectives")[1].any()) == (0.0, False)
    assert "channel 1" in words(render(found.run).html)
    assert "(did not rise)" in words(render(found.run).html)


def test_a_channel_that_only_stronger_noise_wakes_is_raised() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    threshold = nn.Sequential(nn.Conv2d(1, 2, 1), *network[1:])
    with torch.no_grad():
        threshold[0].weight.fill_(1.0)
        threshold[0].bias.fill_(-0.95)
    model = load(threshold, shape=(1, 16, 16))
    faint = clouds((1, 16, 16), (0.0, 1.0), 0.1)
    assert faint.max() < 0.95
    found = shown(model, torch.rand(1, 16, 16), layer="1", channels="0")
    assert found.values["rose"].value == 1


def test_scaled_frequencies_keep_deviation_and_favour_the_slow() -> None:
    noise = torch.randn((3, 64, 48), generator=torch.Generator().manual_seed(0))
    smooth = smoothed(noise, (64, 48))
    assert float(smooth.std()) == pytest.approx(1, rel=0.3)
    assert float(smooth.diff(dim=-1).square().mean()) < 0.5 * float(noise.diff(dim=-1).square().mean())
    assert torch.allclose(smoothed(2 * noise, (64, 48)), 2 * smooth, atol=1e-5), "it is linear"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"channels": "1,96"}, "layer 'features' has 96, numbered from 0"),
        ({"channels": "one"}, "expected numbers from 0, such as 3,7,12, received 'one'"),
        ({"channels": "-1"}, "expected numbers from 0"),
        ({"channels": "1", "count": 2}, "name the channels, or how many"),
        ({"layer": "heda"}, "did you mean 'head'"),
    ],
)
def test_wrong_channels_are_told_before_anything_runs(shapes: Model, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shown(shapes, IMAGES / "star.png", **parameters)


def test_a_black_box_is_skipped() -> None:
    found = shown(load(Branching(), shape=(3, 12, 10)), torch.full((3, 12, 10), 0.5))
    assert found.record.status == "skipped"
    assert found.record.reason


def test_the_report_shows_a_grid_that_also_reads_without_pictures(shapes: Model, tmp_path: Path) -> None:
    found = shown(shapes, IMAGES / "star.png", count=3)
    page = render(found.run).html
    channels, told = array(found, "channels"), array(found, "objectives")
    for channel, one, after in zip(channels, told, array(found, "reached"), strict=True):
        said = f"Picture made for channel {channel}: its mean activation went from {one[0]:.4g} to {after:.4g}"
        assert said in page
    checker = Checker(page)
    assert checker.stack == []
    assert all(attrs.get("alt") for tag, attrs in checker.tags if tag == "img")
    found.run.save(tmp_path / "run")
    assert check(tmp_path / "run").complaints == ()
    assert rows(found.run)[0][f"channel {channels[0]}, before"] == told[0, 0]
    assert len(found.show().axes) == 1
    assert "data:image" in found._repr_html_()


def test_the_command_line_takes_channels(tmp_path: Path) -> None:
    options = ["--set", f"{NAME}.channels=5,6", "--set", f"{NAME}.iterations=1", "--layer", "features"]
    source = ["sample:shapes", str(IMAGES / "star.png"), "--methods", NAME]
    assert command(["explain", *source, *options, "-o", str(tmp_path / "out")]) == 0
    assert command(["check", str(tmp_path / "out")]) == 0
