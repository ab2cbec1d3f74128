"""The report of bounds: both sides of the truth, true numbers in every text, no colour alone, hostile names as text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import xai
from tests.engine.test_bounds import EPS, Curved, images, loaded
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_robustness import panels, words
from xai.errors import UsageError
from xai.reports.html.axes import Axes, ticks_between
from xai.reports.html.page import render, share
from xai.reports.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    model = loaded(Curved(), classes=(HOSTILE, "b", "c", "d"), name=HOSTILE)
    return xai.bounds(model, images(model), eps=EPS, largest=True, examples=2)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return render(run).html


def test_names_from_outside_are_text_and_nothing_runs(html: str) -> None:
    checker = Checker(html)
    assert checker.stack == []
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]


def test_the_top_gives_both_sides_at_the_smallest_and_the_largest_size(run: Run, html: str) -> None:
    values = run.findings[0].values
    told = re.findall("<li><b>(.*?)</b> (.*?)</li>", html[: html.index("</header>")])
    expected = [
        share(values[f"{side} at {size}"].value)  # type: ignore[arg-type]  # shares are floats
        for size in (EPS[0], EPS[-1])
        for side in ("certified accuracy", "accuracy under attack")
    ]
    assert [value for value, _ in told] == expected
    assert told[0][1] == "proved right within 0.01 (linf)"


def test_the_curves_text_and_the_table_carry_the_numbers(run: Run, html: str) -> None:
    (panel,) = panels(html, "Certified accuracy")
    label = re.search('role="img" aria-label="([^"]*)"', panel)
    assert label is not None
    for size in EPS:
        certified, attacked = (
            run.findings[0].values[f"{side} at {size}"] for side in ("certified accuracy", "accuracy under attack")
        )
        assert f"within {size} {share(certified.value)} certified and {share(attacked.value)} standing" in label[1]  # type: ignore[arg-type]  # shares are floats
        low, high = certified.interval or (0, 1)
        assert f"{share(certified.value)} {share(low)} – {share(high)}" in words(panel)  # type: ignore[arg-type]  # as above
    assert "All are shares of the same images, 40 in all" in words(panel)
    assert "real numbers, without rounding" in panel
    assert 'class="most"' in panel


def test_the_certified_curve_never_lies_above_the_other(run: Run) -> None:
    finding = run.findings[0]
    at, certified, where, attacked = (
        run.array(finding, name)
        for name in ("certified epsilons", "certified accuracy", "attacked epsilons", "attacked accuracy")
    )
    assert certified[0] == finding.values["accuracy"].value
    assert (np.diff(certified) <= 0).all()
    for size, proved in zip(at, certified, strict=True):
        assert proved <= attacked[np.searchsorted(where, size, side="right") - 1] + 1e-12
    for size in EPS:
        assert certified[list(at).index(float(size))] == finding.values[f"certified accuracy at {size}"].value


def test_a_share_that_is_certified_at_a_size_is_at_every_smaller_one() -> None:
    axes = Axes(1.0)
    points = axes.steps_before(np.array([0, 0.5, 1.0]), np.array([1.0, 0.75, 0.0]))
    x0, xm, x1 = (axes.across(size) for size in (0, 0.5, 1))
    y1, ym, y0 = (axes.down(part) for part in (1.0, 0.75, 0.0))
    assert points == f"{x0},{y1} {x0},{y1} {x0},{ym} {xm},{ym} {xm},{y0} {x1},{y0}"


def bars(panel: str, name: str) -> list[tuple[float, ...]]:
    """Return where the bars of that name begin, and how wide they are."""
    found = re.findall(rf'class="{name}" x="(\S+)" y="\S+" width="(\S+)"', panel)
    return [tuple(map(float, one)) for one in found]


def test_an_images_bars_hold_what_was_reached(run: Run, html: str) -> None:
    told = panels(html, "What the outputs can become")
    assert len(told) == 2
    for panel, finding in zip(told, run.findings[1:], strict=True):
        boxes = {name: bars(panel, name) for name in ("bound", "reached", "sampled")}
        assert len(boxes["bound"]) == 4 * len(EPS)
        for outer, inner, core in zip(boxes["bound"], boxes["reached"], boxes["sampled"], strict=True):
            for wide, narrow in ((outer, inner), (inner, core)):
                assert narrow[0] >= wide[0] - 0.11
                assert narrow[0] + narrow[1] <= wide[0] + wide[1] + 0.6
        lower = run.array(finding, "lower")
        assert f"{abs(lower[0][1]):.4g}" in panel
        for size in EPS:
            verdict = finding.values[f"verdict at {size}"].value
            assert f"Within {size}: {verdict}." in words(panel)
        assert "can win" in panel


def test_the_words_of_the_other_arithmetic_are_its_own() -> None:
    model = loaded(Curved())
    run = xai.bounds(model, images(model, 3), eps="0.01", arithmetic="float", examples=1)
    (panel,) = panels(render(run).html, "Certified accuracy")
    assert "the float32 network, rounding included" in panel
    assert "torch&#39;s oneDNN kernels" in panel


def test_without_an_attack_nothing_is_said_of_one() -> None:
    model = loaded(Curved())
    html = render(xai.bounds(model, images(model, 6), eps=["0", "0.01"], attack_plan="none", examples=0)).html
    (panel,) = panels(html, "Certified accuracy")
    assert "under attack" not in words(panel).replace("accuracy under attack", "")
    assert 'class="most"' not in panel


def test_values_are_told_by_widths() -> None:
    model = loaded(Curved(), output="values")
    run = xai.bounds(model, images_of(model), eps=["0.01", "0.1"], examples=1)
    assert run.findings[0].status == "ok"
    html = render(run).html
    whole = panels(html, "What the outputs can become")[0]
    for size in ("0.01", "0.1"):
        value = run.findings[0].values[f"mean width at {size}"].value
        assert isinstance(value, float)
        assert f"within {size} they are {value:.4g} apart" in words(whole)
    assert "can win" not in html


def images_of(model: Any) -> torch.Tensor:
    return torch.rand(3, *model.input.shape, generator=torch.Generator().manual_seed(2))


def test_smoothing_says_that_it_is_no_proof() -> None:
    model = loaded(Curved())
    run = xai.bounds(model, images(model, 5), method="smoothing", sigma=0.1, draws=200, examples=1)
    html = render(run).html
    (panel,) = panels(html, "Certified accuracy of the smoothed classifier")
    assert "Statistics, no proof" in words(panel)
    assert "by statistics" in html[: html.index("</header>")]
    (single,) = panels(html, "Randomised smoothing")
    assert str(run.findings[1].values["statement"].value)[:60] in words(single)


@pytest.mark.parametrize(("low", "high"), [(-20.3, 18.2), (0.001, 0.0042), (-1e5, 3e5), (7.1, 7.9)])
def test_ticks_between_are_few_and_within(low: float, high: float) -> None:
    found = ticks_between(low, high)
    assert 2 <= len(found) <= 8
    assert low <= min(found)
    assert max(found) <= high
    assert not low < 0 < high or any(abs(tick) < 1e-12 * (high - low) for tick in found)


def test_it_is_drawn_again_from_what_is_kept(run: Run, tmp_path: Any) -> None:
    from xai.reports.folder import open_run

    folder = run.save(tmp_path / "kept").parent
    assert render(open_run(folder)).html == render(run).html


def test_a_notebook_shows_findings_and_bars(run: Run) -> None:
    assert "What the outputs can become" in run._repr_html_()
    drawn = next(found for found in run if found.record.family == "enclosure").show()
    assert len(drawn.axes) == len(EPS)
    with pytest.raises(UsageError, match="is told in numbers"):
        run["bounds"].show()
