"""The report of an attack: the answer on top, true numbers in every text, one scale, hostile names as text."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai
from tests.networks import seeded
from tests.reports.test_page import HOSTILE, Checker
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.figures import foremost, scale
from xai.reports.html.axes import LEFT, WIDTH, ticks
from xai.reports.html.page import number, render, share
from xai.reports.records import Finding
from xai.reports.run import Run

BRIEF = {"pgd": {"steps": 5}}


class Uneasy(nn.Module):
    """Answers by sums of random sign: little is enough to change them."""

    def __init__(self, shape: tuple[int, ...] = (3, 16, 16)) -> None:
        super().__init__()
        self.head = nn.Linear(int(np.prod(shape)), 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x.flatten(1) - 0.5).abs())


def attacked(model: Model, count: int = 10, **options: Any) -> Run:
    x = torch.rand(count, *model.input.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 4
    return xai.attack(model, (x, y), parameters=BRIEF, **{"eps": ["0.001", "0.05"], "examples": 2, **options})


@pytest.fixture(scope="module")
def run() -> Run:
    model = xai.load(seeded(Uneasy), shape=(3, 16, 16), classes=(HOSTILE, "b", "c", "d"), name=HOSTILE)
    return attacked(model)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return render(run).html


def of(run: Run, family: str) -> list[Finding]:
    return [finding for finding in run.findings if finding.family == family]


def panels(html: str, title: str) -> list[str]:
    return [part for part in html.split('<article class="panel')[1:] if f"<h3>{title}" in part]


def words(html: str) -> str:
    return re.sub("[ \n]+", " ", unescape(re.sub("<[^>]*>", " ", html)))


def test_names_from_outside_are_text_and_nothing_runs(run: Run, html: str) -> None:
    assert of(run, "change")
    assert of(run, "drift")
    checker = Checker(html)
    assert checker.stack == []
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]
    assert html.startswith("<!doctype html>")


def test_the_top_gives_accuracy_and_what_is_left_at_the_smallest_and_largest_size(run: Run, html: str) -> None:
    values = run.findings[0].values
    assert values["accuracy"].value == 0.9
    shares = [values[name].value for name in ("accuracy", "robust accuracy at 0.001", "robust accuracy at 0.05")]
    told = re.findall("<li><b>(.*?)</b> (.*?)</li>", html[: html.index("</header>")])
    assert [value for value, _ in told] == [share(one) for one in shares]  # type: ignore[arg-type]
    assert [text for _, text in told] == [
        "right without an attack",
        "right under attack within 0.001 (linf)",
        "right under attack within 0.05 (linf)",
    ]


def test_answers_that_count_as_right_are_not_told_as_accuracy() -> None:
    model = xai.load(seeded(Uneasy), shape=(3, 16, 16))
    html = render(xai.attack(model, torch.rand(4, 3, 16, 16), eps="0.05", parameters=BRIEF, examples=0)).html
    assert "right without an attack, where the model&#39;s own answers count as right" in html


def test_what_stands_comes_before_the_examples(html: str) -> None:
    places = [
        html.index(part) for part in ('id="alone"', 'id="contents"', 'id="input-1"', 'id="input-2"', 'id="model"')
    ]
    assert places == sorted(places)
    assert html.count('id="alone"') == 1
    assert "2 examples" in html


def test_the_curves_text_carries_its_numbers(run: Run, html: str) -> None:
    (panel,) = panels(html, "Accuracy under attack")
    label = re.search('role="img" aria-label="([^"]*)"', panel)
    assert label is not None
    for name in ("0.001", "0.05"):
        value = run.findings[0].values[f"robust accuracy at {name}"]
        assert isinstance(value.value, float)
        assert value.interval is not None
        assert f"{share(value.value)} within {name}" in label[1]
        assert f"{share(value.value)} {share(value.interval[0])} – {share(value.interval[1])}" in words(panel)


def test_every_size_that_was_asked_for_lies_within_the_drawing() -> None:
    model = xai.load(seeded(Uneasy), shape=(3, 16, 16))
    (panel,) = panels(render(attacked(model, eps=["0.05", "0.5"], examples=0)).html, "Accuracy under attack")
    first, last = (float(at) for at in re.findall('<circle cx="([0-9.]+)"', panel))
    assert first - LEFT == pytest.approx((last - LEFT) / 10, abs=0.2)
    assert last < WIDTH - 8


def test_an_attacks_panel_tells_what_was_tried_and_what_fell(run: Run, html: str) -> None:
    (panel,) = panels(html, "PGD")
    values = of(run, "attack")[0].values
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>(\d+)</td><td>(\d+)</td>', panel)
    assert rows == [
        (name, str(values[f"tried at {name}"].value), str(values[f"fell at {name}"].value))
        for name in ("0.001", "0.05")
    ]
    assert sum(int(row[2]) for row in rows) == run.findings[0].values["claimed"].value


def test_a_changes_panel_tells_both_answers_and_the_scale(run: Run, html: str) -> None:
    told = panels(html, "What changed")
    low, high = scale(run, of(run, "change")[0])
    assert low == -high
    assert high == pytest.approx(max(np.abs(run.array(one, "perturbation")).max() for one in of(run, "change")))
    for panel, finding in zip(told, of(run, "change"), strict=True):
        values = finding.values
        texts = [str(attrs["alt"]) for tag, attrs in Checker(panel.partition("</article>")[0]).tags if tag == "img"]
        assert len(texts) == 4
        for which, when, text in (("first", "before", texts[0]), ("second", "after", texts[3])):
            assert str(values[f"{which} answer"].value) in text
            assert share(values[f"{which} answer, {when}"].value) in text  # type: ignore[arg-type]
        assert f"Colours from {number(low)} to {number(high)}" in texts
        assert f"drawn {1 / (2 * high):.3g} times as strong" in panel
        assert "one scale for all examples" in panel
        kept = round(20 * float(str(values["answer kept under noise"].value)))
        assert f"leaves the answer as it is in {kept} of 20 draws" in words(panel)


def test_a_drifts_panel_tells_the_number_its_control_and_the_target(run: Run, html: str) -> None:
    (panel, _), finding = panels(html, "Occlusion"), of(run, "drift")[0]
    moved, control = (finding.values[name].value for name in ("drift", "drift under noise"))
    assert isinstance(moved, float)
    assert isinstance(control, float)
    told = [f"{one:.3f}" if one >= 0.001 or one == 0 else "< 0.001" for one in (moved, control)]
    assert f"the map moved by {told[0]} ; random noise of the same size moves it by {told[1]} ." in words(panel)
    assert panel.count("over tiles") == 2
    lows, highs = zip(*(re.findall(r"Values from (\S+) to (\S+?)\"", panel)), strict=True)
    maps = [run.array(finding, name) for name in ("before", "after")]
    assert list(lows) == [number(float(one.min())) for one in maps]
    assert list(highs) == [number(float(one.max())) for one in maps]


def test_an_input_that_is_no_picture_has_its_largest_changes_as_a_table() -> None:
    run = attacked(xai.load(seeded(lambda: Uneasy((20,))), shape=(20,)), eps=["0.5"], examples=1)
    (finding,), (panel,) = of(run, "change"), panels(render(run).html, "What changed")
    assert "<img" not in panel
    before, after = run.prepared(run.input(finding)), run.array(finding, "adversarial")
    rows = re.findall(r'<tr><th scope="row">(\d+)</th><td>(\S+?)</td><td>(\S+?)</td><td>(\S+?)</td></tr>', panel)
    assert len(rows) == 10
    change = after.astype(np.float64) - before
    for place, *numbers in rows:
        index = int(place)
        assert [float(one) for one in numbers] == pytest.approx([before[index], after[index], change[index]], rel=1e-3)
    sizes = [abs(float(row[3])) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(np.abs(change).max(), rel=1e-3)
    assert "No map before and after by Grad-CAM: it is about pictures" in panel


def test_the_largest_change_of_the_channels_keeps_its_sign() -> None:
    changes = np.array([[[0.1, -0.2]], [[-0.3, 0.1]]])
    assert foremost(changes).tolist() == [[-0.3, -0.2]]


@pytest.mark.parametrize("widest", [0.0003, 0.0314, 0.21, 0.3, 1.0, 7.3, 99.0])
def test_ticks_are_few_round_numbers(widest: float) -> None:
    found = ticks(widest)
    assert 4 <= len(found) <= 7
    assert found[0] == 0
    assert found[-1] <= widest * (1 + 1e-9)
    assert all(len(f"{tick:.3g}".replace("0", "").replace(".", "").partition("e")[0]) <= 2 for tick in found)


def test_it_is_drawn_again_from_what_is_kept(run: Run, tmp_path: Any) -> None:
    from xai.reports.folder import open_run

    folder = run.save(tmp_path / "kept").parent
    assert render(open_run(folder)).html == render(run).html


def test_a_notebook_shows_the_change_and_both_maps(run: Run) -> None:
    change = next(found for found in run if found.record.family == "change")
    moved = next(found for found in run if found.record.family == "drift")
    (added,) = change.show().axes[1].images
    assert added.get_clim() == scale(run, change.record)
    np.testing.assert_array_equal(added.get_array(), foremost(run.array(change.record, "perturbation")))
    for axes, name in zip(moved.show().axes, ("before", "after"), strict=False):
        np.testing.assert_array_equal(axes.images[1].get_array(), run.array(moved.record, name))
    for family in ("robustness", "attack"):
        with pytest.raises(UsageError, match="is told in numbers"):
            next(found for found in run if found.record.family == family).show()
