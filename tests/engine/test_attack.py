"""Attacks on a data set: rows, shares, confirmation, and the same record whatever the number of jobs."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xai
from tests.robustness.victims import SHAPE, Scores, linear
from xai.data.dataset import open_data
from xai.engine import attack as engine
from xai.engine.attack import attack
from xai.engine.confirm import Witness
from xai.engine.standing import Standing
from xai.engine.threat import plan_attack
from xai.errors import AnalysisError, UsageError
from xai.models.model import Model, Original
from xai.reports.artefacts import FolderStore, get, get_rows
from xai.reports.run import Run
from xai.robustness.victim import Victim
from xai.runtime import Runtime


def images(model: Model, count: int = 40, wrong: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs with their labels; the first ones are labelled wrongly."""
    x = torch.rand(count, *model.input.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[:wrong] = (y[:wrong] + 1) % len(model.classes)
    return x, y


def attacked(model: Model, *names: str, eps: tuple[str, ...] = ("0.05", "0.1"), **options: Any) -> Run:
    kept = {key: options.pop(key) for key in ("jobs", "folder", "runtime", "store", "examples") if key in options}
    plan = plan_attack(model, names or ("pgd",), epsilons=eps, **{"alarms": ["none"], **options})
    return attack(model, open_data(images(model), model), plan, **kept)


def rows(run: Run) -> list[dict[str, Any]]:
    return list(get_rows(run.store, run.findings[0].artefacts["rows"]))


@pytest.fixture(scope="module")
def model() -> Model:
    return linear(range=(0.0, 1.0))


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return attacked(model)


def test_shares_are_those_of_the_rows(run: Run) -> None:
    values, found = run.findings[0].values, rows(run)
    assert values["accuracy"].value == 36 / 40
    for name, epsilon in (("0.05", 0.05), ("0.1", 0.1)):
        stands = [row for row in found if row["right"] and (row["distance"] is None or row["distance"] > epsilon)]
        assert values[f"robust accuracy at {name}"].value == len(stands) / 40
        assert values[f"success rate at {name}"].value == pytest.approx(1 - len(stands) / 36)
        assert values[f"success rate at {name}"].n == 36
    assert 0 < values["robust accuracy at 0.1"].value < values["robust accuracy at 0.05"].value < 0.9


def test_what_is_stored_fools_the_model_within_the_distance_that_is_told(run: Run, model: Model) -> None:
    x, y = images(model)
    finding = run.findings[0]
    for row, one, label in zip(rows(run), x, y, strict=True):
        assert row["label"] == int(label)
        if row["distance"] is not None:
            shard, place = row["adversarial"]
            stored = torch.from_numpy(get(run.store, finding.artefacts[f"adversarial/{shard:06}"])[place])
            assert int(model(stored[None]).argmax()) == row["answer"] != row["label"]
            assert float((stored.double() - one.double()).abs().max()) == row["distance"] <= 0.1
            assert 0 <= float(stored.min()) <= float(stored.max()) <= 1
            assert row["confirmed"]


def test_the_curve_never_rises(run: Run) -> None:
    finding = run.findings[0]
    share = get(run.store, finding.artefacts["robust accuracy"])
    sizes = get(run.store, finding.artefacts["epsilons"])
    assert (np.diff(share) <= 0).all()
    assert share[0] == finding.values["accuracy"].value
    assert share[list(sizes).index(0.1)] == finding.values["robust accuracy at 0.1"].value


def test_a_later_attack_sees_only_what_stands(model: Model) -> None:
    found = attacked(model, "fgsm", "pgd", eps=("0.1",), examples=0).findings
    first, second = (finding.values for finding in found[1:])
    assert first["tried at 0.1"].value == 36
    assert second["tried at 0.1"].value == 36 - first["fell at 0.1"].value


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "shard_size", lambda _: 7)


def test_the_record_does_not_depend_on_the_jobs(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    one, two = (attacked(model, jobs=jobs) for jobs in (1, 2))
    assert [f.timeless() for f in one.findings] == [f.timeless() for f in two.findings]
    assert len(one.findings[0].artefacts) > 5
    assert one.record.settings == two.record.settings


class Drawing(Scores):
    """Adds noise to its scores."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = super().forward(x)
        return scores + 0.3 * torch.randn_like(scores)


@pytest.mark.parametrize("black_box", [False, True])
def test_a_model_that_draws_is_told_of_and_the_record_does_not_depend_on_the_jobs(
    monkeypatch: pytest.MonkeyPatch, model: Model, black_box: bool
) -> None:
    small_shards(monkeypatch)
    data = images(model)
    module = Drawing()
    network = (lambda x: module(x)) if black_box else module
    drawing = xai.load(network, shape=SHAPE, mean=0.0, std=1.0, range=(0.0, 1.0), classes=[*"abcde"])
    assert (drawing.graph is None) == black_box
    name, brief = ("square", {"queries": 500}) if black_box else ("pgd", {})
    plan = plan_attack(drawing, [name], epsilons=["0.1"], alarms=["none"], parameters={name: brief})
    before = torch.get_rng_state()
    one, two = (attack(drawing, open_data(data, drawing), plan, jobs=jobs) for jobs in (1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert rows(one) == rows(two)
    assert [f.timeless() for f in one.findings] == [f.timeless() for f in two.findings]
    assert any(note.startswith("the model draws random numbers: ") for note in one.record.notes)
    assert "draws random numbers" in str(one.findings[0].parameters["confirmed in"])
    assert any("not reproducible to the image" in note for note in one.record.notes)


def test_of_a_model_that_draws_nothing_nothing_is_said(run: Run) -> None:
    assert not any("draws" in note for note in run.record.notes)


def test_a_run_that_was_killed_ten_times_ends_in_the_same_record(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_shards(monkeypatch)
    whole = attacked(model)
    kills = 0
    for _ in range(10):
        left = 250

        def killed(_: str, done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

        try:
            store = FolderStore(tmp_path)
            again = attacked(model, folder=tmp_path / "shards", store=store, runtime=Runtime(progress=killed))
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 1
    assert [f.timeless() for f in again.findings] == [f.timeless() for f in whole.findings]
    assert again.findings[0].artefacts["rows"] == whole.findings[0].artefacts["rows"]


def test_without_labels_the_models_answer_is_taken_and_said(model: Model) -> None:
    x, _ = images(model)
    run = attack(model, open_data(x, model), plan_attack(model, ["fgsm"], epsilons=["0.1"], alarms=["none"]))
    assert run.findings[0].values["accuracy"].value == 1
    assert any("images without a label: 40 of 40;" in note for note in run.record.notes)


def test_a_success_that_another_program_denies_is_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images(model)
    monkeypatch.setattr(
        engine, "witness", lambda _: Witness("a liar", lambda points: torch.eye(5)[y[4:5]].expand(len(points), 5))
    )
    run = attack(model, open_data((x[4:5], y[4:5]), model), plan_attack(model, ["pgd"], epsilons=["0.9"]))
    values = run.findings[0].values
    assert (values["claimed"].value, values["not confirmed"].value) == (1, 1)
    assert values["success rate at 0.9"].value == 0
    assert values["robust accuracy at 0.9"].value == 0
    assert "a liar gives the right answer" in run.findings[0].notes[0]


def test_a_change_by_whole_steps_of_an_8_bit_picture_stays_in_the_region_when_it_is_saved(model: Model) -> None:
    x, _ = images(model, count=400)
    x = (x * 255).round() / 255
    run = attack(model, open_data(x, model), plan_attack(model, ["fgsm"], epsilons=["1/255"]), examples=0)
    values = run.findings[0].values
    assert values["claimed"].value
    assert values["8-bit rounding: stands"].value == 1


def test_what_is_confirmed_is_confirmed_in_onnxruntime(run: Run) -> None:
    assert run.findings[0].parameters["confirmed in"] == "onnxruntime"


def test_a_target_counts_only_that_class(model: Model) -> None:
    run = attacked(model, "pgd", eps=("0.3",), target="class 2")
    fell = [row for row in rows(run) if row["distance"] is not None]
    assert fell
    assert {row["answer"] for row in fell} == {2}
    assert run.findings[0].values["success rate at 0.3"].n == sum(
        row["right"] and row["label"] != 2 for row in rows(run)
    )


def test_epsilon_zero_is_accuracy(model: Model) -> None:
    values = attacked(model, "pgd", eps=("0", "0.1")).findings[0].values
    assert values["robust accuracy at 0"].value == values["accuracy"].value


def test_outputs_that_are_no_numbers_are_wrong(model: Model) -> None:
    broken = replace(
        model, forward=lambda x: model.forward(x) * torch.where(x.flatten(1).sum(1, keepdim=True) > 10, torch.nan, 1.0)
    )
    run = attack(
        broken, open_data(images(model), model), plan_attack(model, ["fgsm"], epsilons=["0.01"], alarms=["none"])
    )
    assert any("outputs are NaN or infinite" in note for note in run.record.notes)
    assert run.findings[0].values["accuracy"].value < 36 / 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["pdg"]}, "did you mean 'pgd'"),
        ({"norm": "l3"}, "there is no norm 'l3'"),
        ({"epsilons": ["8"]}, "allows every input.*8/255 was meant"),
        ({"epsilons": ["-0.1"]}, "not negative"),
        ({"epsilons": []}, "no size of the change"),
        ({"norm": "l2"}, "name one in the norm l2"),
        ({"target": "cat"}, "there is no class 'cat'"),
        ({"parameters": {"bim": {"steps": 3}}}, "bim, which is not among those chosen"),
        ({"parameters": {"pgd": {"step": 3}}}, "did you mean 'steps'"),
        ({"parameters": {"pgd": {"steps": 0}}}, "parameters of pgd do not fit"),
        ({"plan": "strange"}, "there is no plan 'strange'"),
        ({"plan": "standard", "names": ["pgd"]}, "name one of them"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_computed(
    model: Model, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_attack(model, options.pop("names", None), **options)


def test_a_black_box_is_not_attacked_by_gradients() -> None:
    box = xai.load(lambda x: Scores()(x), shape=SHAPE, classes=[str(i) for i in range(5)])
    with pytest.raises(UsageError, match="PGD: it needs gradients, and the model is a black box"):
        plan_attack(box, ["pgd"], epsilons=["0.1"])


def test_values_cannot_be_attacked() -> None:
    model = xai.load(Scores(1), shape=SHAPE, output="values", range=(0.0, 1.0))
    with pytest.raises(UsageError, match="its outputs are values, not classes"):
        plan_attack(model, ["pgd"], epsilons=["0.1"])


class Bright(nn.Module):
    """One output: whether the mean of the pixels lies above one half; as a logit, or its probability."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self.last = nn.Sigmoid() if output == "probabilities" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(20 * (x.flatten(1).mean(1, keepdim=True) - 0.5))


@pytest.mark.parametrize(
    ("declared", "output"), [((), "logits"), (("bright",), "probabilities"), (("dark", "bright"), "logits")]
)
def test_labels_of_one_output_are_0_for_against_and_1_for_its_class(declared: tuple[str, ...], output: str) -> None:
    model = xai.load(Bright(output), shape=SHAPE, classes=declared, output=output, range=(0.0, 1.0))
    yes = declared[-1] if declared else "positive"
    no = declared[0] if len(declared) == 2 else f"not {yes}"
    x = torch.full((4, *SHAPE), 0.3)
    x[2:] = 0.7
    for y in ([0, 0, 1, 0], ["0", "0", "1", "0"], [no, no, yes, no]):  # the last one is labelled wrongly
        plan = plan_attack(model, ["fgsm"], epsilons=["0.3"], alarms=["none"])
        run = attack(model, open_data((x, y), model), plan, examples=2)
        whole, found = run.findings[0], rows(run)
        assert [row["label"] for row in found] == [0, 0, 1, 0]
        assert [row["predicted"] for row in found] == [0, 0, 1, 1]
        assert [row.get("answer") for row in found] == [1, 1, 0, None]
        assert whole.values["accuracy"].value == 0.75
        assert whole.parameters["answers"] == f"0, {no}; 1, {yes}"
        changes = [one for one in run.findings if one.family == "change"]
        said = {(one.values["first answer"].value, one.values["second answer"].value) for one in changes}
        assert said == {(no, yes), (yes, no)}
        assert {one.predictions[0].name for one in run.record.inputs} == {no, yes}
    for target, index, reached in ((no, 0, 1), ("0", 0, 1), (0, 0, 1), (yes, 1, 2), ("1", 1, 2), (1, 1, 2)):
        plan = plan_attack(model, ["pgd"], epsilons=["0.3"], alarms=["none"], target=target)
        assert plan.wanted == index
        run = attack(model, open_data((x, [0, 0, 1, 0]), model), plan, examples=0)
        assert run.findings[0].parameters["wanted"] == (no, yes)[index]
        assert sum(row.get("answer") == index for row in rows(run)) == reached


@pytest.mark.parametrize("label", [2, -1, "2", "odd"])
def test_other_labels_than_against_and_for_are_refused(label: str | int) -> None:
    model = xai.load(Bright("logits"), shape=SHAPE, classes=("dark", "bright"), range=(0.0, 1.0))
    with pytest.raises(UsageError, match=r"there is no class .?(2|-1|odd)"):
        open_data((torch.rand(1, *SHAPE), [label]), model)
    with pytest.raises(UsageError, match=r"there is no class .?(2|-1|odd)"):
        plan_attack(model, ["pgd"], epsilons=["0.1"], target=label)


def test_one_output_in_the_very_middle_is_the_same_answer_everywhere() -> None:
    for output in ("logits", "probabilities"):
        model = xai.load(Bright(output), shape=SHAPE, classes=("dark", "bright"), output=output, range=(0.0, 1.0))
        x = torch.full((1, *SHAPE), 0.5)
        assert model.answer(model(x)[0]) == model.answers[int(Victim(model).scores(x).argmax())] == "dark"


def pictures(folder: Path) -> Path:
    """Write 24 pictures, of which 4 are larger and 3 in colour."""
    folder.mkdir()
    for number in range(24):
        size = (9, 7) if 4 <= number < 8 else SHAPE[1:]
        shape = (*size, 3) if number % 8 == 1 else size
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_how_pictures_were_treated_is_counted_whatever_the_jobs_and_when_resumed(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_shards(monkeypatch)
    data = open_data(pictures(tmp_path / "pictures"), model)
    expected = Counter(treatment for index in range(24) for treatment in set(data.read(index).treatments))
    assert {count for treatment, count in expected.items() if "stretched" in treatment} == {4}
    assert 3 in expected.values()
    plan = plan_attack(model, ["fgsm"], epsilons=["0.1"], alarms=["none"])
    runs = [attack(model, data, plan, jobs=jobs, examples=0) for jobs in (1, 2)]
    kept = tmp_path / "kept"
    store = FolderStore(tmp_path / "store")
    runs += [attack(model, data, plan, folder=kept, store=store, examples=0) for _ in range(2)]  # the second resumes
    for run in runs:
        told = [note for note in run.record.notes if " of 24 images: " in note]
        assert sorted(told) == sorted(f"{count} of 24 images: {treatment}" for treatment, count in expected.items())
        assert run.record.notes == runs[0].record.notes


def test_of_many_treatments_the_most_frequent_are_told(model: Model, tmp_path: Path) -> None:
    for number in range(15):
        Image.fromarray(np.zeros((6 + max(number, 2), 9), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    run = attack(model, open_data(tmp_path, model), plan_attack(model, ["fgsm"], epsilons=["0.1"], alarms=["none"]))
    told = [note for note in run.record.notes if " of 15 images: " in note]
    assert len(told) == 10
    assert any(note.startswith("3 of 15 images: ") and "stretched" in note for note in told)
    assert any(note.startswith("images were treated in ") and note.endswith(" other ways") for note in run.record.notes)


def test_corruptions_stand_beside_attacks_in_the_same_rows(digits: Model) -> None:
    x = torch.rand(9, *digits.input.shape, generator=torch.Generator().manual_seed(0))
    y = digits(x).argmax(1)
    plan = plan_attack(digits, ["none"], corrupted_by=["brightness", "rotation"], severities=[1, 5])
    run = attack(digits, open_data((x, y), digits), plan)
    assert [finding.id for finding in run.findings] == ["robustness", "brightness", "rotation"]
    for finding in run.findings[1:]:
        for severity in (1, 5):
            name = f"{finding.method} {severity}"
            kept = [row["corrupted"][name] for row in rows(run)]
            assert finding.values[f"accuracy at severity {severity}"].value == sum(kept) / 9
            assert finding.values[f"accuracy at severity {severity}"].n == 9
    first, table = plan.corruptions[0][0], run.findings[1].parameters
    damaged = first.apply(x[0], digits.input, Runtime(), rows(run)[0]["digest"])
    assert rows(run)[0]["corrupted"]["brightness 1"] == bool(digits(damaged[None]).argmax() == y[0])
    assert table["table at severity 1"] == "CIFAR-10-C"


def test_a_corruption_that_needs_pictures_is_skipped_for_others() -> None:
    model = xai.load(torch.nn.Linear(6, 3), shape=(6,), range=(0.0, 1.0))
    plan = plan_attack(model, ["fgsm"], epsilons=["0.1"], corrupted_by=["fog", "gaussian_noise"], severities=[2])
    run = attack(model, open_data((torch.rand(5, 6), torch.zeros(5, dtype=torch.long)), model), plan, examples=0)
    assert [(finding.method, finding.status) for finding in run.findings[2:]] == [
        ("fog", "skipped"),
        ("gaussian_noise", "ok"),
    ]
    assert "it happens to pictures" in run.findings[2].reason


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("as_pixels", [False, True])
def test_inputs_at_bounds_that_are_no_32_bit_numbers_fall_as_others_do(norm: str, as_pixels: bool) -> None:
    low, high = (0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081
    model = linear(range=(low, high))
    bits = (torch.rand(30, *model.input.shape, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    x = (bits - 0.1307) / 0.3081 + (-1e-7 + 2e-7 * bits)  # black and white, as rounding leaves them: just outside
    assert (x.double() < low).any()
    assert (x.double() > high).any()
    data = (255 * bits).to(torch.uint8).numpy() if as_pixels else x
    reach = {"linf": "2", "l2": "10", "l1": "60"}[norm]
    plan = plan_attack(model, ["apgd-ce"], norm=norm, epsilons=[reach], alarms=["none"])
    values = attack(model, open_data(data, model), plan).findings[0].values
    assert values[f"robust accuracy at {reach}"].value == 0
    assert values["not confirmed"].value == 0


@pytest.mark.parametrize(("norm", "restarts", "targets", "widened"), [("linf", 1, 9, False), ("l1", 5, 5, True)])
def test_the_standard_plan_sets_what_its_paper_sets_in_a_norm(
    model: Model, norm: str, restarts: int, targets: int, widened: bool
) -> None:
    plan = plan_attack(model, plan="standard", norm=norm, epsilons=["0.5"])
    made = {attack.about.name: attack.model_dump() for attack in plan.attacks}
    assert list(made) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert (made["apgd-ce"]["restarts"], made["apgd-t"]["targets"]) == (restarts, targets)
    assert {made[name]["widened"] for name in ("apgd-ce", "apgd-t")} == {widened}
    mine = plan_attack(model, plan="standard", norm=norm, epsilons=["0.5"], parameters={"apgd-ce": {"restarts": 2}})
    assert mine.attacks[0].model_dump()["restarts"] == 2


@pytest.fixture
def from_onnx(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Model, list[Any]]:
    """A model that was read from ONNX, and every process that was started to run the file."""
    started: list[Any] = []

    class Popen(subprocess.Popen):  # type: ignore[type-arg]  # what it reads is of no matter
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    xai.export(model, tmp_path / "net.onnx")
    monkeypatch.setattr(subprocess, "Popen", Popen)
    return xai.load(tmp_path / "net.onnx"), started


def test_what_was_read_from_onnx_is_confirmed_in_that_file(from_onnx: tuple[Model, list[Any]]) -> None:
    model, started = from_onnx
    assert model.original is not None
    assert started
    assert all(process.poll() is not None for process in started)  # an open model keeps no process
    seen: list[int] = []
    original = replace(model.original, forward=lambda x: seen.append(len(x)) or model.original.forward(x))
    values = attacked(replace(model, original=original)).findings[0]
    assert values.parameters["confirmed in"] == "onnxruntime on the file itself"
    assert sum(seen) == values.values["claimed"].value > 0
    assert values.values["not confirmed"].value == 0
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize("error", [ValueError("no such number"), AnalysisError("takes too long")])
def test_a_witness_that_fails_confirms_nothing_and_loses_nothing(model: Model, error: Exception) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise error

    run = attacked(replace(model, original=Original("a program", fail, lambda: None)))
    values = run.findings[0].values
    assert values["not confirmed"].value == values["claimed"].value > 0
    assert {row["reason"] for row in rows(run) if row.get("reason")} == {
        f"a program on the file itself failed: {error}"
    }


def test_what_lies_farther_than_was_asked_for_is_not_told(model: Model) -> None:
    near = attacked(model, "fab-t", eps=("0.01",))
    minima = attack(model, open_data(images(model), model), plan_attack(model, ["fab-t"], alarms=["none"]))
    assert max(row["distance"] for row in rows(minima) if row["distance"] is not None) > 0.01
    assert all(row["distance"] is None or row["distance"] <= 0.01 for row in rows(near))
    values = near.findings[0].values
    fell = round(values["success rate at 0.01"].value * values["success rate at 0.01"].n)
    assert values["claimed"].value == near["fab-t"].values["fell"].value == fell
    assert "smallest change, median" not in values  # searches ended at the size that was asked for
    assert "smallest change, median" in minima.findings[0].values


def test_a_run_toward_one_class_says_what_it_leaves_open(model: Model) -> None:
    run = attacked(model, target=2, eps=("0.3",))
    whole = run.findings[0]
    same = sum(row["right"] and row["label"] == 2 for row in rows(run))
    assert same > 0
    assert whole.parameters["wanted"] == model.classes[2]
    assert f"{same} of 40 images are of that class, were not attacked, and count as standing" in whole.notes[0]
    assert "turned into the wanted class" in whole.description
    assert "at most" not in whole.limits


def test_unconfirmed_claims_leave_the_figure_open_on_both_sides(model: Model) -> None:
    liar = Original("a program", lambda points: 100 * model(points) @ torch.eye(5).roll(1, 0), lambda: None)
    run = attacked(replace(model, original=liar), eps=("0.5",))
    whole, lost = run.findings[0], run.findings[0].values["not confirmed"].value
    assert lost > 0
    robust = whole.values["robust accuracy at 0.5"].value
    assert f"but for the {lost} images" in whole.limits
    assert f"If they stand, robust accuracy at 0.5 is {100 * (robust + lost / 40):.2f} %" in whole.notes[0]


def test_accuracy_is_also_told_of_the_labelled_images_alone(model: Model) -> None:
    standing = Standing([row(right=n >= 5, labelled=n < 5) for n in range(10)], plan_attack(model, ["pgd"]))
    values = standing.curve()
    assert values["accuracy"].value == 0.5
    assert (values["accuracy where labelled"].value, values["accuracy where labelled"].n) == (0, 5)


def row(**given: Any) -> dict[str, Any]:
    return {"distance": None, "right": True, "labelled": True, "attacked": True, "finite": True, **given}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": True}, "epsilon True: expected a number"),
        ({"parameters": {"fgsm": 3}}, "parameters of fgsm: expected names with their values, received 3"),
        ({"jobs": -1}, "jobs: expected 1 or more, received -1"),
        ({"jobs": 0}, "jobs: expected 1 or more, received 0"),
        ({"seed": -1}, "seed: expected 0 or more, received -1"),
        ({"attacks": "none", "corruptions": "brightness", "eps": 0.1}, "no attack was named that could use it"),
    ],
)
def test_calls_that_make_no_sense_are_refused(model: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        xai.attack(model, images(model), **{"attacks": "fgsm", "eps": 0.1, **options})


def test_only_a_model_is_attacked() -> None:
    with pytest.raises(UsageError, match=r"expected a model from xai\.load, received Linear"):
        xai.attack(torch.nn.Linear(2, 2), torch.rand(1, 2))  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("eps", [0.25, np.float32(0.25), torch.tensor(0.25), [np.float64(0.25)], "1/4"])
def test_any_number_is_a_size(model: Model, eps: Any) -> None:
    run = xai.attack(model, images(model), attacks="fgsm", eps=eps, alarms="none", severities=3)
    assert [value for name, value in run.findings[0].parameters.items() if name.startswith("epsilon ")] == [0.25]


def test_a_plan_that_is_not_whole_says_so() -> None:
    three = linear(3, range=(0.0, 1.0))
    x = torch.rand(4, *three.input.shape)
    run = xai.attack(three, x, plan="standard", eps=0.01, alarms="none", parameters={"square": {"queries": 5}})
    assert run.findings[0].parameters["plan"] == "standard, without APGD-T"
