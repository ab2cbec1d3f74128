"""Verified images: known margins decide them, what is claimed is looked at again, and a killed run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai
from tests.robustness.victims import SHAPE, Scores
from xai.data.dataset import open_data
from xai.engine import deciding
from xai.engine import verify as engine
from xai.engine.confirm import Confirmed
from xai.engine.deciding import Judge, plan_verify
from xai.engine.verify import verify
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.artefacts import FolderStore, get
from xai.reports.evidence import Evidence
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding
from xai.robustness.verify.decide import Outcome, Verdict

DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def loaded(net: nn.Module, **declared: Any) -> Model:
    limits = {"shape": SHAPE, "mean": 0.0, "std": 1.0, "range": (-10.0, 10.0), **declared}
    return xai.load(net.eval(), **limits)


def images(model: Model, count: int = 12, wrong: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs with their labels; the first ones are labelled wrongly."""
    x = torch.rand(count, *model.input.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        outputs = model(x)
    y = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
    y[:wrong] = (y[:wrong] + 1) % len(model.answers)
    return x, y


def margins(model: Model, x: torch.Tensor, norm: str) -> torch.Tensor:
    """Return how far each input (n, ...) of a linear network is from the nearest border, (n,) float64."""
    weight, bias = (part.detach().double() for part in model.graph.module.parameters())  # type: ignore[union-attr]  # it has a graph
    scores = x.flatten(1).double() @ weight.T + bias
    best = scores.argmax(1)
    gaps = weight[best][:, None] - weight[None]
    nearest = (scores.gather(1, best[:, None]) - scores) / torch.linalg.vector_norm(gaps, ord=DUAL[norm], dim=2)
    nearest[torch.arange(len(x)), best] = torch.inf
    return nearest.amin(1)


@pytest.fixture(scope="module")
def model() -> Model:
    return loaded(Scores())


@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("arithmetic", ["real", "float"])
def test_an_answer_holds_where_the_change_is_smaller_than_the_distance_to_the_border(
    model: Model, norm: str, arithmetic: str
) -> None:
    x, y = images(model)
    reach = margins(model, x, norm)
    eps = float(reach[2:].sort().values[4:6].mean())
    run = xai.verify(model, (x, y), eps=eps, norm=norm, arithmetic=arithmetic, timeout=5)
    for row, distance in zip(run["verification"].rows[2:], reach[2:].tolist(), strict=True):
        assert row["verdict"] == ("holds" if eps < distance else "violated"), (row, distance)
    for row in run["verification"].rows[:2]:
        assert (row["right"], row["verdict"], row["by"]) == (False, None, "")
    verdicts = [row["verdict"] for row in run["verification"].rows]
    assert {"holds", "violated"} < set(verdicts)
    values = run["verification"].values
    (name,) = [key.removeprefix("verified accuracy at ") for key in values if key.startswith("verified")]
    holds, violated = verdicts.count("holds"), verdicts.count("violated")
    assert values[f"verified accuracy at {name}"].value == holds / 12
    assert values[f"verified accuracy at {name}"].bound == "least"
    assert values[f"verified accuracy at {name}"].interval == clopper_pearson(holds, 12)
    assert values[f"accuracy under attack at {name}"].value == (10 - violated) / 12
    assert values["accuracy"].value == 10 / 12


def test_near_the_border_nothing_is_said_that_is_not_so(model: Model) -> None:
    x, _ = images(model, 2, 0)
    reach = margins(model, x, "linf")
    for place in range(2):
        for factor, never in ((1 - 1e-6, "violated"), (1 + 1e-6, "holds")):
            eps = float(reach[place]) * factor
            found = xai.verify(model, x[place, None], eps=eps, timeout=0.3, arithmetic="float")
            assert found["verification"].rows[0]["verdict"] != never


class Folded(nn.Module):
    """Bends, so that one pass of bounds does not decide."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 12), nn.Linear(12, 2)
        generator = torch.Generator().manual_seed(4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            first, second = self(torch.full((1, 3), 0.5))[0]
            self.second.bias[1] += first - second  # both answers are given

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())  # type: ignore[no-any-return]  # modules are untyped


def test_a_search_decides_what_bounds_leave_open_as_a_grid_of_points_says() -> None:
    model = loaded(Folded(), shape=(3,), range=(0.0, 1.0))
    x, y = images(model, 30, 0)
    rows = xai.verify(model, (x, y), eps=0.25, timeout=10)["verification"].rows
    steps = torch.cartesian_prod(*[torch.linspace(-0.25, 0.25, 21)] * 3)
    for row, one, label in zip(rows, x, y, strict=True):
        grid = (one + steps).clamp(0, 1)
        with torch.no_grad():
            same = bool((model(grid).argmax(1) == label).all())
        assert row["verdict"] in ("holds", "violated")
        assert same or row["verdict"] == "violated"
        if row["verdict"] == "holds":
            assert same
    assert {"attack", "CROWN", "input splitting"} >= {row["by"] for row in rows}
    assert "input splitting" in {row["by"] for row in rows}


def test_a_counterexample_is_stored_without_loss_and_another_program_falls_for_it(model: Model, tmp_path: Path) -> None:
    x, y = images(model, 8, 0)
    plan = plan_verify(model, 0.2)
    run = verify(open_data((x, y), model), plan, store=FolderStore(tmp_path), examples=2)
    whole = run.findings[0]
    assert whole.parameters["confirmed in"] == "onnxruntime"
    fallen = [(place, row) for place, row in enumerate(run["verification"].rows) if row["verdict"] == "violated"]
    assert fallen
    for place, row in fallen:
        point = torch.from_numpy(get(run.store, whole.artefacts[f"adversarial/{row['adversarial'][0]:06}"]))
        with torch.no_grad():
            assert int(model(point).argmax()) == row["answer"] != int(y[place])
        assert float((point.double() - x[place].double()).abs().max()) <= 0.2
    changes = [finding for finding in run.findings if finding.family == "change"]
    assert len(changes) == 2
    assert all(finding.family != "drift" for finding in run.findings)


class Single(nn.Module):
    """One score."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(20, 1), last
        self.linear.weight.data = torch.linspace(-1, 1, 20)[None]
        self.linear.bias.data = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.linear(x.flatten(1)))  # type: ignore[no-any-return]  # modules are untyped


@pytest.mark.parametrize(("last", "output"), [(nn.Identity(), "logits"), (nn.Sigmoid(), "probabilities")])
def test_one_score_is_on_one_side_of_its_middle(last: nn.Module, output: str) -> None:
    model = loaded(Single(last), output=output, classes=["stop"])
    x = torch.rand(10, *SHAPE, generator=torch.Generator().manual_seed(1))
    weight = torch.linspace(-1, 1, 20).double()
    reach = (x.flatten(1).double() @ weight).abs() / weight.abs().sum()
    eps = float(reach.sort().values[4:6].mean())
    rows = xai.verify(model, x, eps=eps, timeout=5)["verification"].rows
    assert [row["verdict"] for row in rows] == ["holds" if eps < one else "violated" for one in reach.tolist()]


def test_probabilities_are_verified_as_their_logits_are(model: Model) -> None:
    net = nn.Sequential(Scores(), nn.Softmax(1))
    x, y = images(model, 10, 0)
    eps = float(margins(model, x, "linf").sort().values[4:6].mean())
    told = [
        [row["verdict"] for row in xai.verify(one, (x, y), eps=eps, timeout=3)["verification"].rows]
        for one in (model, loaded(net, output="probabilities"))
    ]
    assert told[0] == told[1]
    assert "holds" in told[0]


def comparable(run: Evidence) -> list[Finding]:
    """Return the findings without what the clock says."""
    kept = []
    for finding in run.findings:
        held = {name: one for name, one in finding.artefacts.items() if name != "times"}
        kept.append(finding.timeless().model_copy(update={"artefacts": held}))
    return kept


def test_the_record_is_the_same_whatever_the_jobs_and_after_a_kill(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = open_data(images(model), model), plan_verify(model, 0.1)
    whole = verify(data, plan, jobs=1)
    assert comparable(verify(data, plan, jobs=3)) == comparable(whole)
    shard, asked = engine.Task.shard, []

    def dying(task: engine.Task, number: int, *rest: Any) -> Any:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(number)
        return shard(task, number, *rest)

    store, folder = FolderStore(tmp_path), tmp_path / "shards"
    monkeypatch.setattr(engine.Task, "shard", dying)
    with pytest.raises(KeyboardInterrupt):
        verify(data, plan, jobs=1, store=store, folder=folder)
    assert len(list(folder.glob("0*.json"))) == 5  # an image each: no more than the one at hand is lost
    monkeypatch.setattr(
        engine.Task, "shard", lambda task, number, *rest: asked.append(number) or shard(task, number, *rest)
    )  # type: ignore[func-returns-value]  # append is for its effect
    assert comparable(verify(data, plan, jobs=1, store=store, folder=folder)) == comparable(whole)
    assert sorted(asked) == list(range(12))


def test_a_proof_that_a_point_contradicts_makes_all_of_it_a_failure(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = images(model, 4, 0)
    monkeypatch.setattr(deciding, "_first_attacks", lambda *_: ())
    monkeypatch.setattr(engine._Look, "_certified", lambda *_: None)
    monkeypatch.setattr(Judge, "decide", lambda *_: Outcome(Verdict.HOLDS, "CROWN", 0.0, 1))
    run = xai.verify(model, (x, y), eps=2.0)
    (whole,) = run.findings
    assert whole.status == "failed"
    assert "a proof is wrong" in whole.reason
    assert whole.values == {}
    point = torch.from_numpy(get(run.store, whole.artefacts["point/000000"]))
    with torch.no_grad():
        assert int(model(point[None]).argmax()) != int(y[0])


def test_a_counterexample_that_is_not_confirmed_decides_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images(model, 3, 0)
    monkeypatch.setattr(deciding, "_first_attacks", lambda *_: ())
    monkeypatch.setattr(engine, "confirm", lambda *_: Confirmed([0], ["onnxruntime gives the right answer"], [""]))
    rows = xai.verify(model, (x, y), eps=3.0, timeout=5)["verification"].rows
    assert {row["verdict"] for row in rows} == {"not decided"}
    assert all("not confirmed: onnxruntime gives the right answer" in row["reason"] for row in rows)


def test_what_rounding_was_seen_to_break_is_not_said_to_hold(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images(model, 3, 0)
    monkeypatch.setattr(Judge, "rounded_away", lambda *_: True)
    rows = xai.verify(model, (x, y), eps=1e-6, timeout=5)["verification"].rows
    assert {row["verdict"] for row in rows} == {"not decided"}
    assert all("proved for real numbers" in row["reason"] for row in rows)


class Cut(nn.Module):
    """Has a step that no rule bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = Scores()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(torch.floor(x * 64) / 64 + x)  # type: ignore[no-any-return]  # modules are untyped


@pytest.mark.parametrize(("kind", "told"), [("operator", "floor"), ("black box", "black box")])
def test_what_cannot_be_bounded_is_attacked_and_not_decided(kind: str, told: str) -> None:
    net = Cut().eval()
    if kind == "operator":
        model = loaded(net)
    else:
        model = xai.load(lambda x: net(x).detach(), shape=SHAPE, range=(-10.0, 10.0), classes=list("abcde"))
    x, y = images(model, 1, 0)
    for eps, verdict in ((1e-6, "not decided"), (3.0, "violated")):
        run = xai.verify(model, (x, y), eps=eps, timeout=2, examples=0)
        rows = run["verification"].rows
        assert {row["verdict"] for row in rows} == {verdict}
        assert all(told in row["reason"] for row in rows if verdict == "not decided")


def test_a_moment_is_not_enough_and_nothing_breaks() -> None:
    model = xai.load("sample:digits")
    run = xai.verify(model, "sample:digits:0-3", eps=0.02, timeout=0.001, examples=0)
    for row in run["verification"].rows:
        assert row["verdict"] in ("holds", "violated", "not decided")
    assert any(row["reason"] == "time is up" for row in run["verification"].rows)
    assert "depends on the machine" in run.findings[0].notes[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no size of the change was given"),
        ({"eps": "21"}, "allows every input"),
        ({"eps": -1}, "not negative"),
        ({"eps": "1/255,2/255"}, "expected a number"),
        ({"eps": 0.1, "norm": "l3"}, "there is no norm 'l3'"),
        ({"eps": 0.1, "timeout": 0}, "a number of seconds above 0, received 0"),
        ({"eps": 0.1, "timeout": float("nan")}, "a number of seconds above 0"),
        ({"eps": 0.1, "arithmetic": "reel"}, "did you mean 'real'"),
        ({"eps": 0.1, "properties": "p.yaml"}, "received both or neither"),
    ],
)
def test_what_does_not_fit_is_refused(model: Model, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        xai.verify(model, images(model, 2), **given)


def test_values_have_no_right_answer(model: Model) -> None:
    with pytest.raises(UsageError, match="outputs are values"):
        xai.verify(loaded(Scores(), output="values"), images(model, 2)[0], eps=0.1)


def test_times_are_kept_beside_the_rows(model: Model) -> None:
    run = xai.verify(model, images(model, 3, 0), eps=0.01)
    times = run.array(run.findings[0], "times")
    assert times.shape == (3,)
    assert (times > 0).all()
    assert float(times.sum()) == pytest.approx(run.findings[0].seconds)
    assert np.isfinite(times).all()
