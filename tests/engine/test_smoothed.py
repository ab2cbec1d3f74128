"""Smoothing over a data set: the statements of the smoothing wing, counted, and the same however the run is made."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import torch

import xai
from tests.engine.test_bounds import Bright, Curved, images, loaded, same
from tests.robustness.victims import SHAPE, Scores
from xai.data.dataset import open_data
from xai.engine import smoothed as engine
from xai.engine.smoothed import plan_smoothing, smooth
from xai.models.model import Model
from xai.reports.artefacts import FolderStore
from xai.robustness.smoothing.certify import certify
from xai.robustness.smoothing.plan import Smoothing
from xai.runtime import Runtime

NOISE: dict[str, Any] = {"method": "smoothing", "sigma": 0.05, "draws": 300, "n0": 50}


@pytest.fixture(scope="module")
def model() -> Model:
    return loaded(Scores(4))


def test_what_is_told_is_what_the_smoothing_wing_says_of_each_image(model: Model) -> None:
    x, y = images(model, 12, 3)
    run = xai.bounds(model, (x, y), eps=["0.02", "0.05"], seed=3, **NOISE)
    rows = run["smoothed"].rows
    said = certify(model, x, Smoothing(0.05, 50, 300), Runtime(seed=3), [row["digest"] for row in rows])
    assert [row["count"] for row in rows] == said.count.tolist()
    assert [row["radius"] for row in rows] == said.radius.tolist()
    values = run.findings[0].values
    for size in (0.02, 0.05):
        assert values[f"certified accuracy at {size}"].value == said.certified(y.numpy(), size).mean()
        assert values[f"certified accuracy at {size}"].n == 12
    assert values["accuracy without noise"].value == 0.75
    assert run.findings[0].kind == "statistical"
    assert run.findings[0].verdict is None
    assert not [name for name in values if "proved" in name]


def test_of_a_linear_score_no_radius_exceeds_the_distance_to_the_border() -> None:
    single = loaded(Bright(), classes=("bright",))
    x = torch.stack([torch.full(SHAPE, value) for value in (0.3, 0.45, 0.49, 0.7)])
    rows = xai.bounds(single, x, **NOISE | {"draws": 5000})["smoothed"].rows
    distances = (x.flatten(1).mean(1) - 0.5).abs() * 20**0.5  # the border is a plane
    assert all(row["radius"] <= distance for row, distance in zip(rows, distances.tolist(), strict=True))
    nearest = rows[2]["radius"]
    expected = 0.05 * NormalDist().inv_cdf(NormalDist().cdf(float(distances[2]) / 0.05) - 0.02)
    assert nearest == pytest.approx(expected, abs=0.01)


def test_the_record_does_not_depend_on_the_jobs(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SHARD", 2)
    one, two = (xai.bounds(model, images(model, 7), jobs=jobs, **NOISE) for jobs in (1, 2))
    assert same(one, two)


def test_a_run_that_was_killed_within_an_image_goes_on_there(model: Model, tmp_path: Path) -> None:
    plan = plan_smoothing(model, sigma=0.05, draws=6000, n0=50)
    data = open_data(images(model, 2), model)
    whole = smooth(data, plan)
    calls = 0

    def killed(_: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 40:
            raise KeyboardInterrupt

    store = FolderStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        smooth(data, plan, folder=tmp_path / "shards", store=store, runtime=Runtime(progress=killed), jobs=1)
    assert not list(tmp_path.glob("shards/000000.json"))
    (kept,) = tmp_path.glob("shards/*.part")
    drawn: list[int] = []
    again = smooth(
        data,
        plan,
        folder=tmp_path / "shards",
        store=store,
        runtime=Runtime(progress=lambda _, done, __: drawn.append(done)),
        jobs=1,
    )
    assert drawn[1] >= 3000, "what was drawn before counts at once"
    assert same(again, whole)
    assert kept.exists()


def test_abstentions_and_what_cannot_be_certified_count_against(model: Model) -> None:
    run = xai.bounds(model, images(model, 10, 0), eps="0.5", **NOISE | {"draws": 20})
    values = run.findings[0].values
    assert values["certified accuracy at 0.5"].value == 0, "so few draws certify no such radius"
    assert run.findings[0].parameters["largest radius that so many draws can certify"] < 0.5
    reached = run.array(run.findings[0], "radii")
    assert reached.max() <= run.findings[0].parameters["largest radius that so many draws can certify"]


def test_outputs_that_are_no_numbers_certify_nothing() -> None:
    net = Curved()
    net.hidden.weight.data *= 1e20
    net.head.weight.data *= 1e20  # float32 overflows
    run = xai.bounds(loaded(net), torch.rand(3, *SHAPE), eps="0.01", **NOISE)
    values = run.findings[0].values
    assert [values[name].value for name in ("certified accuracy at 0.01", "accuracy without noise")] == [0, 0]
    assert values["images with draws that gave no numbers"].value == 3
    assert len(run.findings) == 1
