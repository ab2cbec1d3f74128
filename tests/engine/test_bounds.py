"""Bounds over a data set: nothing lies outside, what is wrong is found out, and the record is the same any way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai
from tests.networks import Branching
from tests.robustness.victims import SHAPE, Scores
from xai.data.dataset import open_data
from xai.engine import bounds as engine
from xai.engine.bounds import bounds
from xai.engine.enclosure import BoundsPlan, plan_bounds
from xai.engine.probe import Probe
from xai.errors import AnalysisError, UsageError
from xai.models.model import Model
from xai.reports.artefacts import FolderStore, get
from xai.reports.run import Run
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.methods.base import Bounder, bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.program import Program
from xai.robustness.norms import Norm
from xai.robustness.regions import Region
from xai.runtime import Runtime

EPS = ("0.01", "0.05", "0.2")
NORMS = {"linf": (1, EPS), "l2": (2, ("0.02", "0.1", "0.4")), "l1": (torch.inf, ("0.05", "0.2", "1"))}


class Curved(nn.Module):
    """One hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.hidden, self.head = nn.Linear(20, 12), nn.Linear(12, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(x.flatten(1)).relu())  # type: ignore[no-any-return]  # modules are untyped


def loaded(net: nn.Module, **declared: Any) -> Model:
    return xai.load(net.eval(), **{"shape": SHAPE, "mean": 0.0, "std": 1.0, "range": (0.0, 1.0), **declared})


@pytest.fixture(scope="module")
def model() -> Model:
    return loaded(Curved())


def images(model: Model, count: int = 40, wrong: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs with their labels; the first ones are labelled wrongly."""
    x = torch.rand(count, *model.input.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[:wrong] = (y[:wrong] + 1) % len(model.classes)
    return x, y


def rows(run: Run) -> list[dict[str, Any]]:
    return run["bounds"].rows


def share(run: Run, name: str) -> float:
    value = run.findings[0].values[name].value
    assert isinstance(value, float)
    return value


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return xai.bounds(model, images(model), eps=EPS, largest=True)


def test_certified_is_at_most_what_stands_under_attack_and_both_fall(run: Run) -> None:
    certified = [share(run, f"certified accuracy at {name}") for name in EPS]
    attacked = [share(run, f"accuracy under attack at {name}") for name in EPS]
    assert certified == sorted(certified, reverse=True)
    assert all(low <= high for low, high in zip(certified, attacked, strict=True))
    assert 0 < certified[1] < share(run, "accuracy") == 0.9
    for name, low, high in zip(EPS, certified, attacked, strict=True):
        assert share(run, f"not decided at {name}") == pytest.approx(high - low)
        assert run.findings[0].values[f"certified accuracy at {name}"].n == 40


def test_of_a_linear_network_the_largest_certified_change_is_the_distance_to_the_border() -> None:
    for norm, (dual, sizes) in NORMS.items():
        linear = loaded(Scores(), range=(-10.0, 10.0))
        x, y = images(linear, 12, 0)
        found = xai.bounds(linear, (x, y), eps=sizes, norm=norm, largest=True, examples=0)
        weight, bias = (part.detach().double() for part in linear.graph.module.parameters())  # type: ignore[union-attr]  # it has a graph
        scores = x.flatten(1).double() @ weight.T + bias
        gaps = weight[y][:, None] - weight[None]
        nearest = (scores.gather(1, y[:, None]) - scores) / torch.linalg.vector_norm(gaps, ord=dual, dim=2)
        nearest[torch.arange(12), y] = torch.inf
        largest = [row["largest"] for row in rows(found)]
        np.testing.assert_allclose(largest, nearest.amin(1).numpy(), rtol=0.02, atol=1e-3)
        assert all(one <= exact * (1 + 1e-6) for one, exact in zip(largest, nearest.amin(1).tolist(), strict=True))


def test_verdicts_are_holds_violated_or_not_decided_and_only_an_attacked_point_violates(run: Run) -> None:
    verdicts = {verdict for row in rows(run) for verdict in row["verdicts"].values()}
    assert verdicts == {"holds", "violated", "not decided"}
    for row in rows(run):
        told = list(row["verdicts"].items())
        assert [verdict for _, verdict in told].count("holds") == sum(row["largest"] >= float(name) for name, _ in told)
        for name, verdict in told:
            fell = row["distance"] is not None and row["confirmed"] and row["distance"] <= float(name)
            assert (verdict == "violated") == fell


def test_the_views_give_bounds_and_winners_of_all_images(model: Model, run: Run) -> None:
    found = run["bounds"]
    assert found.lower.shape == found.upper.shape == (3, 40, 4)
    one = xai.bounds(model, images(model), eps="0.05", examples=0, attack_plan="none")["bounds"]
    assert one.lower.shape == (40, 4)
    np.testing.assert_array_equal(one.lower, found.lower[1])
    assert one.winners == found.winners[1]
    outputs = model(images(model)[0]).detach().double().numpy()
    assert (one.lower <= outputs + 1e-6).all()
    assert (one.upper >= outputs - 1e-6).all()
    alone = [names == [model.answers[row["predicted"]]] for names, row in zip(one.winners, rows(run), strict=True)]
    certified = [row["verdicts"]["0.05"] == "holds" for row in rows(run)]
    assert all(single or not proved for single, proved in zip(alone, certified, strict=True)) or alone == certified


def test_an_image_alone_has_the_bounds_that_it_has_among_others(model: Model) -> None:
    x, y = images(model, 6, 0)
    together = xai.bounds(model, (x, y), eps="0.05", examples=0)
    for index in range(6):
        alone = xai.bounds(model, (x[index : index + 1], y[index : index + 1]), eps="0.05", examples=0)
        np.testing.assert_allclose(alone["bounds"].lower[0], together["bounds"].lower[index], rtol=1e-9)
        np.testing.assert_allclose(alone["bounds"].upper[0], together["bounds"].upper[index], rtol=1e-9)
        assert rows(alone)[0]["verdicts"] == rows(together)[index]["verdicts"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("arithmetic", ["real", "float"])
def test_every_norm_and_arithmetic_holds_what_is_tried(model: Model, norm: str, arithmetic: str) -> None:
    found = xai.bounds(model, images(model, 8), eps=NORMS[norm][1], norm=norm, arithmetic=arithmetic, examples=2)
    assert {one.status for one in found.findings} == {"ok"}
    value = found.findings[0].values["points tried"].value
    assert isinstance(value, int)
    assert value >= 8 * 17 * 3


def test_float_bounds_are_wider_than_real_ones(model: Model) -> None:
    real, single = (
        xai.bounds(model, images(model, 8), eps="0.05", arithmetic=arithmetic, examples=0)["bounds"]
        for arithmetic in ("real", "float")
    )
    assert (single.upper > real.upper).all()
    assert (single.lower < real.lower).all()
    assert (single.upper - real.upper).max() < 1e-4


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LARGEST_SHARD", 7)


def same(one: Run, other: Run) -> bool:
    return [f.timeless() for f in one.findings] == [f.timeless() for f in other.findings]


def test_the_record_does_not_depend_on_the_jobs(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    one, two = (xai.bounds(model, images(model), eps=EPS, jobs=jobs) for jobs in (1, 2))
    assert same(one, two)
    assert len(one.findings[0].artefacts) > 18
    assert one["bounds"].lower.shape == (3, 40, 4)


def test_a_run_that_was_killed_ends_in_the_same_record(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_shards(monkeypatch)
    plan, data = plan_bounds(model, EPS), open_data(images(model), model)
    whole = bounds(data, plan)
    kills = 0
    for _ in range(10):
        left = 150

        def killed(_: str, done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

        try:
            store = FolderStore(tmp_path)
            again = bounds(
                data, plan, folder=tmp_path / "shards", store=store, runtime=Runtime(progress=killed), jobs=1
            )
            break
        except KeyboardInterrupt:
            kills += 1
    assert 1 <= kills < 10
    assert same(again, whole)


class Wrong(Bounder):
    """Bounds that are a little too narrow."""

    def __init__(self, inner: Bounder, by: float) -> None:
        self.true, self.by, self.about = inner, by, inner.about  # type: ignore[misc]  # each has its own

    def prepare(self, analysis: Any, last: int) -> None:
        self.true.prepare(analysis, last)

    def lowest(self, analysis: Any, last: int, rows: torch.Tensor) -> torch.Tensor:
        return self.true.lowest(analysis, last, rows) + self.by


def broken(plan: BoundsPlan, by: float) -> BoundsPlan:
    return BoundsPlan(plan.model, Wrong(plan.bounder, by), plan.arithmetic, plan.layer, plan.attack, plan.largest)


@pytest.mark.parametrize("arithmetic", ["real", "float"])
def test_a_bounder_that_is_wrong_is_found_out_and_nothing_of_it_is_told(model: Model, arithmetic: str) -> None:
    x, y = images(model, 8)
    plan = plan_bounds(model, ["0.05"], arithmetic=arithmetic)
    for by in (0.2, 1e-2):  # the second is caught where points are climbed to: it lies within what sampling reaches
        found = bounds(open_data((x, y), model), broken(plan, by), examples=8)
        whole = found.findings[0]
        assert {one.status for one in found.findings} == {"failed"}
        assert whole.values == {}
        assert "a bound is wrong" in whole.reason
        assert "was said to" in whole.reason
        point = get(found.store, whole.artefacts["point/000000"])
        assert point.shape == SHAPE
        with pytest.raises(AnalysisError, match="a bound is wrong"):
            _ = found["bounds"].lower


def test_an_answer_that_was_ruled_out_and_is_given_is_a_contradiction(model: Model) -> None:
    x, _ = images(model, 3, 0)
    plan = plan_bounds(model, ["0.05"])
    probe = Probe(plan.bounding, Runtime())
    values = probe.values(x)[:, None]
    everything = Interval(values[:, 0] - 1, values[:, 0] + 1)
    able = torch.ones(3, 4, dtype=torch.bool)
    assert probe.breaches(everything, able, values) == []
    given = int(values[1, 0].argmax())
    able[1, given] = False
    (breach,) = probe.breaches(everything, able, values)
    assert (breach.row, breach.point) == (1, 0)
    assert model.answers[given] in breach.what


@pytest.mark.parametrize("norm", list(Norm))
def test_every_point_that_is_tried_lies_in_the_region(model: Model, norm: Norm) -> None:
    x, _ = images(model, 4, 0)
    probe = Probe(Bounding(model, bounders.get("ibp")()), Runtime())
    region = Region(norm, 0.1, 0.0, 1.0)
    points = probe.sampled(region, x, [*"abcd"], "0.1")
    assert points.shape == (4, 17, *SHAPE)
    for own, some in zip(x, points, strict=True):
        assert region.holds(own.expand_as(some), some).all()
        assert torch.equal(some[0], own)
    climbed = probe.climbed(region, x[:1], [0, 2])
    assert region.holds(x[:1].expand_as(climbed), climbed).all()
    values = probe.values(climbed)
    assert values[0, 0] >= probe.values(points[0])[:, 0].max()
    assert values[3, 2] <= probe.values(points[0])[:, 2].min()


def test_climbing_reaches_what_is_exact_for_a_linear_network() -> None:
    linear = loaded(Scores(), range=(-10.0, 10.0))
    x, y = images(linear, 1, 0)
    run = xai.bounds(linear, (x, y), eps="0.1")
    (example,) = run.findings[1:]
    for bound, reached in (("lower", "climbed lowest"), ("upper", "climbed highest")):
        np.testing.assert_allclose(run.array(example, bound), run.array(example, reached), atol=1e-5)
    assert example.values["reached at 0.1"].value == pytest.approx(1, abs=1e-4)


def test_size_zero_gives_the_outputs_themselves(model: Model) -> None:
    x, y = images(model, 5)
    found = xai.bounds(model, (x, y), eps=["0", "0.05"])["bounds"]
    with torch.no_grad():
        exact = Curved().double()(x.double()).numpy()
    np.testing.assert_allclose(found.lower[0], exact, atol=1e-9)
    np.testing.assert_allclose(found.upper[0], exact, atol=1e-9)
    assert found.values["certified accuracy at 0"].value == found.values["accuracy"].value


def test_values_have_bounds_and_no_winners() -> None:
    values = loaded(nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)), shape=(7,), output="values")
    run = xai.bounds(values, torch.rand(6, 7), eps=["0.01", "0.1"])
    assert run.findings[0].status == "ok", run.findings[0].reason
    assert run["bounds"].lower.shape == (2, 6, 3)
    assert not [name for name in run.findings[0].values if "accuracy" in name]
    assert run.findings[1].verdict is None
    assert not any("label" in note for note in run.record.notes)
    with pytest.raises(UsageError, match="winners"):
        _ = run["bounds"].winners
    for options in ({"largest": True}, {"attack_plan": "pgd"}, {"parameters": {"pgd": {"steps": 3}}}):
        with pytest.raises(UsageError, match="scores of classes"):
            xai.bounds(values, torch.rand(6, 7), eps="0.1", **options)


def test_a_layer_has_bounds_of_its_own_numbers(model: Model) -> None:
    x, _ = images(model, 5)
    run = xai.bounds(model, x, eps="0.05", layer="hidden")
    found = run["bounds"]
    assert found.lower.shape == (5, 12)
    with torch.no_grad():
        net = Curved()
        middle, reach = net.hidden(x.flatten(1)), 0.05 * net.hidden.weight.abs().sum(1)
    assert (found.upper >= (middle + 0 * reach - 1e-5).numpy()).all()
    assert (found.upper - found.lower <= 2 * reach.numpy() + 1e-5).all()
    assert run.findings[1].parameters["layer"] == "hidden"
    with pytest.raises(UsageError, match="did you mean 'hidden'"):
        xai.bounds(model, x, eps="0.05", layer="hiden")


class Bright(nn.Module):
    """Says whether an image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(20, 1)
        self.mean.weight.data, self.mean.bias.data = torch.full((1, 20), 9 / 20), torch.tensor([-4.5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mean(x.flatten(1))  # type: ignore[no-any-return]  # modules are untyped


def test_one_output_has_two_answers() -> None:
    single = loaded(Bright(), classes=("bright",))
    x = torch.stack([torch.full(SHAPE, value) for value in (0.2, 0.48, 0.9)])
    found = xai.bounds(single, x, eps="0.1")["bounds"]
    assert found.winners == [["not bright"], ["not bright", "bright"], ["bright"]]
    assert [row["verdicts"]["0.1"] for row in found.rows] == ["holds", "violated", "holds"]


@pytest.mark.parametrize(
    ("net", "options", "reason"),
    [
        (Branching, {"shape": (3, 12, 10)}, "it needs graph, and the model is a black box"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 4), Floor()),
            {},
            "floor in layer 2: there is no rule to bound this operator",
        ),
    ],
)
def test_what_cannot_be_bounded_is_skipped_with_the_reason(
    net: Callable[[], nn.Module], options: dict[str, Any], reason: str
) -> None:
    unknown = loaded(net(), **options)
    run = xai.bounds(unknown, torch.rand(2, *unknown.input.shape), eps="0.1")
    (finding,) = run.findings
    assert (finding.status, finding.values) == ("skipped", {})
    assert reason in finding.reason
    assert run.record.inputs == ()


class Floor(nn.Module):
    """Rounds down."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.floor()


def test_what_would_not_fit_is_skipped_with_an_estimate(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.robustness.bounds.limits.free_bytes", lambda: 1000)
    (finding,) = xai.bounds(model, images(model), eps="0.1").findings
    assert finding.status == "skipped"
    assert "GiB are free" in finding.reason
    monkeypatch.undo()
    monkeypatch.setattr("xai.engine.enclosure.MOST_NUMBERS", 3)
    (finding,) = xai.bounds(model, images(model), eps="0.1").findings
    assert "there are 4 numbers to bound" in finding.reason


def test_images_without_labels_take_the_models_answer_and_the_record_says_so(model: Model) -> None:
    run = xai.bounds(model, images(model, 5)[0], eps="0.05")
    assert run.findings[0].values["accuracy"].value == 1
    assert run.findings[0].parameters["labels"] == "the model's own answers for 5 of 5"
    assert any("images without a label: 5 of 5;" in note for note in run.record.notes)


def test_what_rounding_overturns_is_not_counted_as_certified(model: Model) -> None:
    """A proof about real numbers, and a point at which float32 gives another answer: the network that runs decides."""
    x, _ = images(model, 1, 0)
    work = object.__new__(engine._Work)
    work.plan, work.largest, work.found = plan_bounds(model, ["0.001"]), torch.tensor([0.1]), {0: x[0]}
    work.certified, work.rows = {"0.001": torch.tensor([True])}, [{"distance": 0.0005}]
    told = work._proved(0)
    assert told["verdicts"] == {"0.001": "violated"}
    assert told["rounding"] is True
    assert told["largest"] < 0.0005


def test_the_model_is_left_as_it_was(model: Model) -> None:
    state, fingerprint = torch.random.get_rng_state(), model.fingerprint
    xai.bounds(model, images(model, 4), eps="0.05", largest=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.fingerprint == fingerprint


def test_where_the_steps_are_not_the_network_its_own_numbers_are_tried(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of a rule that the one example does not show."""
    x, _ = images(model, 5, 0)
    probe = Probe(plan_bounds(model, ["0.05"]).bounding, Runtime())
    steps, own = probe.values(x), model(x).double()
    assert not torch.equal(steps, own), "float32 rounds"
    value = Program.value
    off = torch.tensor([0.0, 1e-7, 0.0, 0.5, 0.0])[:, None]
    monkeypatch.setattr(Program, "value", lambda self, x: value(self, x) + off)
    assert torch.equal(probe.values(x)[:3], steps[:3] + off[:3])
    assert torch.equal(probe.values(x)[3], own[3])


def test_the_float_network_is_not_covered_where_other_kernels_run(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("torch.backends.mkldnn.is_available", lambda: False)
        found = xai.bounds(model, images(model, 2, 0), eps="0.01", arithmetic="float").findings[0]
    assert (found.status, "oneDNN is off" in found.reason) == ("skipped", True)
    torch.set_flush_denormal(True)
    try:
        found = xai.bounds(model, images(model, 2, 0), eps="0.01", arithmetic="float").findings[0]
    finally:
        torch.set_flush_denormal(False)
    assert (found.status, "set_flush_denormal" in found.reason) == ("skipped", True)
