"""The panel of an activation: strongest channels first, one scale a layer, numbers that can be checked."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from tests.engine.test_inspect import Silent
from tests.networks import Linear, Mlp, Small, seeded
from tests.reports.test_page import HOSTILE, Checker
from xai.api import inspect, load
from xai.models.model import Model
from xai.reports.figures import CHANNELS, coloured, gradient_scale, mosaic, scale, strongest
from xai.reports.folder import open_run
from xai.reports.html.page import number, render
from xai.reports.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    model = load(seeded(Small), shape=(3, 16, 16))
    generator = torch.Generator().manual_seed(0)
    return inspect(model, [torch.rand((3, 16, 16), generator=generator) * size for size in (1, 0.2)], "stem")


def test_strongest_channels_come_first_in_both_grids_and_the_table(run: Run) -> None:
    html = render(run).html
    panel = html.split('<article class="panel')[1]
    order = strongest(next(iter(run)).activation).tolist()
    captions = [int(text) for text in re.findall(r"</?[^>]*><figcaption>(\d+)</figcaption>", panel)]
    assert captions == order + order
    assert [int(text) for text in re.findall(r'<tr><th scope="row">(\d+)</th>', panel)] == order


def test_the_table_tells_what_the_arrays_hold(run: Run) -> None:
    found = next(iter(run))
    panel = render(run).html.split('<article class="panel')[1]
    channel = strongest(found.activation)[0]
    values, slope = found.activation[channel].astype(np.float64), found.gradient[channel].astype(np.float64)
    row = re.search(rf'<tr><th scope="row">{channel}</th>(.*?)</tr>', panel)
    assert row is not None
    cells = re.findall("<td>(.*?)</td>", row[1])
    assert [float(cells[index]) for index in (0, 1, 3, 4)] == pytest.approx(
        [values.mean(), values.max(), slope.mean(), (values * slope).mean()], rel=1e-3
    )


def test_one_scale_for_all_channels_of_a_layer(run: Run) -> None:
    both = list(run)
    lows, highs = zip(*(scale(run, found.record) for found in both), strict=True)
    assert len(set(highs)) == len(set(lows)) == 1
    assert highs[0] == pytest.approx(max(found.activation.max() for found in both))
    steep = {gradient_scale(run, found.record) for found in both}
    assert len(steep) == 1
    far = max(np.abs(found.gradient).max() for found in both)
    assert steep.pop() == pytest.approx((-far, far))
    html = render(run).html
    assert html.count("one scale for all channels of this layer") == 4
    assert f"<span>{number(float(highs[0]))}</span>" in html


def test_silent_channels_are_said() -> None:
    html = render(inspect(load(Silent(), shape=(1, 4, 4)), torch.full((1, 4, 4), 0.25), "act")).html
    assert "<b>2</b> of 3 are zero everywhere for this input" in html


def test_at_most_sixteen_of_many_are_shown_and_it_is_said_how_many_there_are(shapes: Model) -> None:
    x = torch.rand(3, 64, 64)
    html = render(inspect(shapes, x, "features.12")).html
    assert "has 96 channels of 8 x 8;\nthe 16 strongest are shown" in html
    assert html.count("<figcaption>") == 2 * CHANNELS + 2, "the input's and the drawing's too"


def test_units_are_bars_on_either_side_of_zero() -> None:
    model = load(Mlp(), shape=(3, 12, 10), classes=("a", "b", "c"))
    found = inspect(model, torch.rand(3, 12, 10), "hidden", target="b")["activation"]
    html = render(found.run).html
    rows = re.findall(
        r'<tr><th scope="row">(\d+)</th><td>([^<]*)</td>\s*<td><svg.*?M([\d.]+) 0V12.*?<rect class="(\w+)" x="([\d.]+)"'
        r' y="2" width="([\d.]+)"',
        html,
        re.DOTALL,
    )
    assert [int(row[0]) for row in rows] == strongest(found.activation).tolist()
    for unit, _, zero, sign, left, width in rows:
        value = found.activation[int(unit)]
        assert sign == ("minus" if value < 0 else "plus")
        edge = float(left) + float(width) if value < 0 else float(left)
        assert edge == pytest.approx(float(zero), abs=0.11)
    widths = [float(row[5]) for row in rows]
    assert widths == sorted(widths, reverse=True)


def test_names_from_outside_are_text() -> None:
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    html = render(inspect(model, torch.rand(3, 12, 10), "einsum", target=0)).html
    assert "<script" not in html
    assert Checker(html).stack == []


def test_the_figure_can_be_drawn_again_from_what_is_kept(run: Run, tmp_path: object) -> None:
    folder = run.save(f"{tmp_path}/kept").parent
    again = open_run(folder)
    first = again.findings[0]
    np.testing.assert_array_equal(again.array(first, "activation"), next(iter(run)).activation)
    assert render(again).html == render(run).html


def test_a_notebook_shows_the_grid(run: Run) -> None:
    found = next(iter(run))
    figure = found.show()
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == mosaic(found.activation).shape
    assert (figure.axes[0].images[0].norm.vmin, figure.axes[0].images[0].norm.vmax) == scale(run, found.record)
    assert "data:image/" in found._repr_html_()
    units = inspect(load(Mlp(), shape=(3, 12, 10)), torch.rand(3, 12, 10), "hidden")["activation"]
    assert len(units.show().axes[0].patches) == CHANNELS
    assert "<img" in units._repr_html_(), "the input"
    alone = inspect(load(seeded(Small), shape=(3, 16, 16)))
    assert f"parameters in {len(alone.record.model.layers)} layers" in alone._repr_html_()


def test_mosaic_keeps_every_map_apart() -> None:
    maps = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    sheet = mosaic(maps)
    assert sheet.shape == (2 * 2 + 1, 3 * 3 + 2)
    np.testing.assert_array_equal(sheet[3:5, 4:7], maps[4])
    assert np.isnan(sheet[2]).all()
    assert np.isnan(sheet[3:, 8:]).all()
    assert coloured(np.zeros((2, 2)), (0.0, 0.0), signed=False).shape == (2, 2, 3)
