"""What changed: the right examples, true numbers, maps for one target, and noise of the same size as the control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai
from tests.networks import seeded
from tests.robustness.victims import SHAPE, Scores, linear
from xai.data.dataset import open_data
from xai.engine import attack as engine
from xai.engine.attack import attack
from xai.engine.changes import DRAWS, EXAMPLES, choose, noise_like
from xai.engine.drift import drift
from xai.engine.plan import plan_explain
from xai.engine.threat import plan_attack
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.records import Finding
from xai.reports.run import Run
from xai.runtime import Runtime

BRIEF = {"pgd": {"steps": 5}}


class Uneasy(nn.Module):
    """Answers by sums of random sign: little is enough to change them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 16 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).flatten(1))


def attacked(model: Model, data: Any, *names: str, eps: str = "0.3", **options: Any) -> Run:
    parameters = {"square": {"queries": 100}} if names else BRIEF
    plan = plan_attack(model, names or ("pgd",), epsilons=[eps], parameters=parameters)
    return attack(model, open_data(data, model), plan, **options)


def of(run: Run, family: str) -> list[Finding]:
    return [finding for finding in run.findings if finding.family == family]


@pytest.fixture(scope="module")
def model() -> Model:
    return xai.load(seeded(Uneasy), shape=(3, 16, 16), classes=("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def pictures(model: Model) -> torch.Tensor:
    return torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def run(model: Model, pictures: torch.Tensor) -> Run:
    return attacked(model, pictures, examples=2)


def row(label: int, distance: float | None, *, confirmed: bool = True) -> dict[str, Any]:
    return {"label": label, "distance": distance, "confirmed": confirmed}


def test_the_smallest_confirmed_changes_are_taken_one_of_each_class_first() -> None:
    rows = [row(0, 0.1), row(0, 0.2), row(1, 0.5), row(0, 0.05), row(1, None), row(2, 0.3, confirmed=False)]
    rows += [row(2, 0.0), {"label": 3, "distance": None}, row(1, 0.5)]
    assert [(one["label"], one["distance"]) for one in choose(rows, 3)] == [(0, 0.05), (0, 0.1), (1, 0.5)]
    assert choose(rows, 2) == [rows[3], rows[2]], "of equal ones the first"
    assert len(choose(rows, 9)) == 5
    assert choose([], 4) == []


def test_noise_has_the_changes_own_numbers_and_stays_within_the_range() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 8, 9, generator=generator).round(decimals=1)
    delta = 0.3 * torch.rand(1, 8, 9, generator=generator)
    noisy = noise_like(x, delta, (0.0, 1.0), generator, 5)
    assert noisy.shape == (5, 1, 8, 9)
    assert float(noisy.min()) >= 0
    assert float(noisy.max()) <= 1
    for one in noisy:
        assert torch.allclose((one - x).abs().flatten().sort().values, delta.flatten().sort().values, atol=1e-6)
    assert not torch.equal(noisy[0], noisy[1])
    signs = (noisy - x)[:, (x > 0.3) & (x < 0.7)].sign()
    assert abs(float(signs.mean())) < 0.3
    free = noise_like(x, delta, None, generator, 1)
    assert float(free.min()) < 0


def test_a_change_is_told_as_it_is(run: Run, model: Model, pictures: torch.Tensor) -> None:
    changes = of(run, "change")
    assert len(changes) == len(run.record.inputs) == 2
    for finding, record in zip(changes, run.record.inputs, strict=True):
        assert (finding.status, finding.input) == ("ok", record.id)
        before = torch.from_numpy(run.prepared(record))
        after = torch.from_numpy(run.array(finding, "adversarial"))
        assert any(torch.equal(before, one) for one in pictures)
        np.testing.assert_allclose(run.array(finding, "perturbation"), after - before, atol=1e-7)
        delta, values = (after.double() - before.double()), {name: one.value for name, one in finding.values.items()}
        assert values["linf"] == float(delta.abs().max()) <= 0.3 + 1e-7
        assert values["l2"] == pytest.approx(float(delta.norm()))
        assert values["l1"] == pytest.approx(float(delta.abs().sum()))
        assert values["changed"] == int((delta.abs().amax(0) > 1 / 510).sum())
        shares = model(torch.stack((before, after))).double().softmax(1)
        answers = shares.argmax(1).tolist()
        assert [values["first answer"], values["second answer"]] == [model.classes[one] for one in answers]
        assert answers[0] != answers[1]
        for which, answer in zip(("first", "second"), answers, strict=True):
            for when, share in zip(("before", "after"), shares, strict=True):
                assert values[f"{which} answer, {when}"] == pytest.approx(float(share[answer]), abs=1e-5)
        assert 0 <= float(str(values["answer kept under noise"])) <= 1
        assert finding.values["answer kept under noise"].n == DRAWS


def test_both_maps_are_of_the_first_answer_and_the_drift_is_theirs(run: Run, model: Model) -> None:
    methods = {one.about.name: one for one in plan_explain(model, measures_named="none").methods}
    for finding in of(run, "drift"):
        record = run.input(finding)
        change = next(one for one in of(run, "change") if one.input == finding.input)
        assert finding.status == "ok"
        assert finding.target is not None
        assert finding.target.name == change.values["first answer"].value == record.predictions[0].name
        maps = []
        for name, x in (("before", run.prepared(record)), ("after", run.array(change, "adversarial"))):
            maps.append(run.array(finding, name))
            target = model.target(finding.target.index)
            (again,) = methods[finding.method].explain(model, torch.from_numpy(x), [target], Runtime(), record.digest)
            np.testing.assert_allclose(maps[-1], again.arrays["map"], atol=1e-5)
        assert finding.values["drift"].value == drift(*maps)
    assert {finding.method for finding in of(run, "drift")} == set(methods)
    assert len(of(run, "drift")) == 2 * len(methods) > 2


def test_the_drift_under_noise_is_told_beside_it(run: Run) -> None:
    for finding in of(run, "drift"):
        control = finding.values["drift under noise"]
        assert isinstance(control.value, float)
        assert control.n == 3
        assert 0 <= control.value <= float(str(finding.values["drift under noise, largest"].value)) <= 2


def test_the_same_is_found_again_whatever_the_jobs(
    model: Model, pictures: torch.Tensor, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "shard_size", lambda _: 5)
    one, two = (attacked(model, pictures, examples=2, jobs=jobs) for jobs in (1, 2))
    assert one.record.inputs == two.record.inputs
    assert [finding.timeless() for finding in one.findings] == [finding.timeless() for finding in two.findings]
    assert of(one, "change")
    assert of(attacked(model, pictures, examples=2), "drift")[0].timeless() == of(run, "drift")[0].timeless()


def test_a_black_box_has_the_maps_that_need_outputs_only(pictures: torch.Tensor) -> None:
    inner = seeded(Uneasy)
    box = xai.load(lambda x: inner(x), shape=(3, 16, 16), classes=("a", "b", "c", "d"))
    run = attacked(box, pictures[:4], "square", examples=1)
    assert [finding.method for finding in of(run, "drift")] == ["occlusion"]
    told = str(of(run, "change")[0].parameters["not explained by"])
    assert told.startswith("Grad-CAM: ")
    assert "black box" in told


class Columns(nn.Module):
    """Takes a row of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.linear.weight.data = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def test_numbers_that_are_no_picture_have_no_map_and_the_reason_is_told() -> None:
    model = xai.load(Columns(), shape=(6,))
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))
    run = attacked(model, (x, model(x).argmax(1)), eps="2", examples=1)
    assert not of(run, "drift")
    (change,) = of(run, "change")
    assert "it is about pictures" in str(change.parameters["not explained by"])
    assert change.values["changed"].n == 6


def test_without_a_success_or_a_wish_there_is_no_example() -> None:
    model = linear(range=(0.0, 1.0))
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    for run in (attacked(model, x, eps="1e-6"), attacked(model, x, examples=0)):
        assert run.record.inputs == ()
        assert not of(run, "change")
    assert len(of(attacked(model, x), "change")) == EXAMPLES
    with pytest.raises(UsageError, match="examples of at least 0, received -1"):
        attacked(model, x, examples=-1)


def test_an_original_that_was_changed_meanwhile_is_a_failure_and_no_example(tmp_path: Path) -> None:
    model = linear(range=(0.0, 1.0))
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    for number, one in enumerate(x):
        np.save(tmp_path / f"{number}.npy", one.numpy())
    data = open_data(tmp_path, model)

    def meddle(stage: str, done: int, total: int) -> None:
        if stage == "looking at what changed" and done == 0:
            for file in tmp_path.glob("*.npy"):
                np.save(file, np.zeros(SHAPE, dtype=np.float32))

    plan = plan_attack(model, ["pgd"], epsilons=["0.3"], parameters=BRIEF)
    run = attack(model, data, plan, examples=1, runtime=Runtime(progress=meddle))
    (change,) = of(run, "change")
    assert change.status == "failed"
    assert change.reason.endswith("was changed since it was attacked")
    assert run.record.inputs == ()


def test_one_output_is_for_its_class_or_against_it() -> None:
    model = xai.load(Scores(1), shape=SHAPE, classes=("cat",), range=(0.0, 1.0))
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    (change,) = of(attacked(model, x, eps="0.9", examples=1), "change")
    names = {change.values["first answer"].value, change.values["second answer"].value}
    assert names == {"cat", "not cat"}
    shares = [change.values[f"{which} answer, before"].value for which in ("first", "second")]
    assert sum(map(float, map(str, shares))) == pytest.approx(1)
