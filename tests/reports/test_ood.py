"""The reports of detectors: verdicts in words, true numbers in every text, hostile names as text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

import xai
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_robustness import panels, words
from tests.robustness.ood.subjects import digit_pictures
from xai.models.model import Model
from xai.reports.artefacts import get_rows
from xai.reports.folder import open_run
from xai.reports.html.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP
from xai.reports.html.page import render
from xai.reports.html.sections.ood import histogram, roc
from xai.reports.run import Run
from xai.reports.words import share

METHODS = ("msp", "energy", "mahalanobis", "hbos", "react")


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    _, test = digit_pictures()
    return test.images, test.labels


@pytest.fixture(scope="module")
def fitted(digits: Model, images: tuple[torch.Tensor, torch.Tensor]) -> Run:
    return xai.ood.fit(digits, (images[0][:350], images[1][:350]), methods=METHODS, holdout=0.4)


@pytest.fixture(scope="module")
def scored(digits: Model, images: tuple[torch.Tensor, torch.Tensor], fitted: Run) -> Run:
    x = torch.cat((images[0][350:360], 0.3 * images[0][360:363] + 0.1))
    return xai.ood.score(digits, fitted, x, examples=5)


@pytest.fixture(scope="module")
def evaluated(digits: Model, images: tuple[torch.Tensor, torch.Tensor], fitted: Run) -> Run:
    return xai.ood.evaluate(
        digits,
        fitted,
        images[0][350:],
        {HOSTILE: 0.3 * images[0][:60] + 0.1},
        near={"mirrored": images[0][:60].flip(3)},
        probes=["noise"],
        rounds=20,
    )


@pytest.mark.parametrize("which", ["fitted", "scored", "evaluated"])
def test_names_from_outside_are_text_and_nothing_runs(which: str, request: pytest.FixtureRequest) -> None:
    checker = Checker(render(request.getfixturevalue(which)).html)
    assert checker.stack == []
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]


def test_accuracy_is_the_first_thing_that_is_said_of_a_fit(fitted: Run) -> None:
    html = render(fitted).html
    told = re.findall("<li><b>(.*?)</b> (.*?)</li>", html[: html.index("</header>")])
    assert told[0] == (share(float(fitted["fit"].values["accuracy"].value or 0)), "right on labelled images")
    (panel,) = panels(html, "The detectors, and what they keep")
    keeps = fitted["fit"].values["keeps"]
    assert f"keeps {share(float(keeps.value or 0))} of all images like those held back" in words(panel)
    assert len(re.findall('class="curve axes hist"', html)) == len(METHODS) + 5, "the whole, and each of the others"


def test_the_verdict_stands_in_words_with_score_threshold_and_p_value(scored: Run) -> None:
    html = render(scored).html
    found = panels(html, "Is it known?")
    verdicts = [one for one in scored.findings if one.family == "ood-verdict"]
    assert len(found) == len(verdicts) == 5
    kinds = {one.values["verdict"].value for one in verdicts}
    assert kinds == {"in-distribution", "out-of-distribution"}
    for panel, finding in zip(found, verdicts, strict=True):
        text, values = words(panel), finding.values
        assert str(values["verdict"].value) in text
        above = "above" if values["verdict"].value == "out-of-distribution" else "at or below"
        assert (
            f"Its score {values['score'].value:.4g} lies {above} the threshold {values['threshold'].value:.4g}" in text
        )
        held = scored.array(finding, "held")
        higher = int((held >= values["score"].value).sum())
        assert f"Of {len(held)} held-back images {higher or 'none'} score" in text
        assert values["p-value"].value == (higher + 1) / (len(held) + 1)
        rows = list(get_rows(scored.store, finding.artefacts["judgements"]))
        out = sum(row["single"] and not row["inside"] for row in rows)
        assert f"{out} of {len(METHODS)} detectors say out-of-distribution by themselves" in text
        for row in get_rows(scored.store, finding.artefacts["alike"]):
            assert row["id"] in text
            assert f"cosine {row['alike']:.4f}" in text
        assert panel.count("data:image/png") == 5


def test_a_mark_lies_on_the_side_of_the_threshold_that_the_verdict_says(scored: Run) -> None:
    for finding in (one for one in scored.findings if one.family == "ood-verdict"):
        score, threshold = (float(finding.values[name].value or 0) for name in ("score", "threshold"))
        drawn = histogram(scored.array(finding, "held"), threshold, what="", at=score)
        assert (drawn["at"] > drawn["line"]) == (score > threshold)
        assert drawn["left"] <= drawn["at"] <= drawn["right"]


def test_bars_stand_for_the_scores_and_what_lies_beyond_is_said() -> None:
    held = np.concatenate((np.linspace(0, 1, 1000), [50.0, 60.0]))
    drawn = histogram(held, 0.95, what="scores")
    heights = [bar["height"] for bar in drawn["held"]]
    assert max(heights) == pytest.approx(drawn["bottom"] - drawn["top"] - 14, abs=0.2)
    assert min(heights) >= 0
    assert drawn["caption"] == "scores; 2 beyond the right end are drawn there" or "beyond" in drawn["caption"]
    assert "half lie between 0.2" in drawn["words"]
    same = histogram(np.full(5, 2.0), 2.0, what="scores")
    assert len(same["held"]) == 1


def test_the_curve_is_the_roc() -> None:
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(0, 1, 60), generator.normal(1, 1, 50)
    refused, found, _ = roc_curve([0] * 60 + [1] * 50, np.concatenate((inside, outside)), drop_intermediate=False)
    expected = [
        (LEFT + x * (RIGHT - LEFT), HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - TOP))
        for x, y in zip(refused, found, strict=True)
    ]
    drawn = [tuple(map(float, point.split(","))) for point in roc(inside, outside).split()]
    np.testing.assert_allclose(drawn[: len(expected)], expected, atol=0.06)


def test_the_table_of_an_evaluation_carries_every_figure(evaluated: Run) -> None:
    html = render(evaluated).html
    (panel,) = panels(html, "How well known and foreign images are told apart")
    text = words(panel)
    rows = list(get_rows(evaluated.store, evaluated["evaluation"].record.artefacts["figures"]))
    for row in rows:
        assert f"{100 * row['AUROC'][0]:.1f}" in text
    combined = next(row for row in rows if row["name"] == "combined")
    assert "{:.1f} {:.1f} – {:.1f}".format(*(100 * part for part in combined["AUROC"])) in text
    assert text.count("best") >= 3
    for name in ("mirrored", "noise"):
        (own,) = panels(html, f"Against {name}")
        value = next(one for one in evaluated.findings if one.id == f"set/{name}").values["AUPR-out"]
        low, high = value.interval or (0, 1)
        assert f"AUPR-out {share(float(value.value or 0))} ({share(low)} to {share(high)})" in words(own)
        assert own.count('class="curve axes') == 2


def test_it_is_drawn_again_from_what_is_kept(scored: Run, evaluated: Run, tmp_path: Path) -> None:
    for name, run in (("scored", scored), ("evaluated", evaluated)):
        folder = run.save(tmp_path / name).parent
        assert render(open_run(folder)).html == render(run).html


def test_a_notebook_shows_verdicts_and_figures(fitted: Run, scored: Run) -> None:
    assert "Is it known?" in scored._repr_html_()
    verdict = next(found for found in scored if found.record.family == "ood-verdict")
    assert "Is it known?" in verdict._repr_html_()
    for found in (verdict, scored["score"], fitted["fit"], fitted["energy"]):
        assert len(found.show().axes) == 1
