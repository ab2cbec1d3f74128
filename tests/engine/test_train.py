"""xai.train: from data to a file, measured beside its parent on images that no training saw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.networks import Small, seeded
from xai.api import attack, bounds, export, load, train, with_head
from xai.data.dataset import open_data
from xai.engine.recheck import recheck
from xai.engine.training.trained import Trained
from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.models.model import Model
from xai.reports.check import check
from xai.reports.folder import open_run

DATA = "sample:digits:0-500"


@pytest.fixture(scope="module")
def parent() -> Model:
    return load("sample:digits")


@pytest.fixture(scope="module")
def robust(parent: Model) -> Trained:
    return train(parent, DATA, objective="adversarial", eps=0.1, epochs=12, lr=3e-3)


@pytest.fixture(scope="module")
def saved(robust: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    robust.save(folder)
    return folder


def share(found: Trained, side: str, name: str) -> float:
    run = found.run if side == "after" else found.before
    return float(run["robustness"].values[name].value)  # type: ignore[arg-type]


def test_adversarial_training_makes_it_robust(robust: Trained) -> None:
    before, after = (share(robust, side, "robust accuracy at 0.1") for side in ("before", "after"))
    assert after > before + 0.2
    assert share(robust, "after", "accuracy") > 0.9
    (risen,) = robust.comparison.risen
    assert risen.name == "right under attack at 0.1"


def test_the_parent_stays_and_the_child_is_another(robust: Trained, parent: Model) -> None:
    assert parent.fingerprint == load("sample:digits").fingerprint
    assert robust.model.fingerprint != parent.fingerprint
    assert robust.before.record.model.fingerprint == parent.fingerprint
    assert robust.run.record.model.fingerprint == robust.model.fingerprint


def test_the_same_seed_gives_the_same_weights(parent: Model) -> None:
    first, second, other = (
        train(parent, DATA, objective="trades", eps=0.1, epochs=1, seed=seed, limit=100) for seed in (0, 0, 1)
    )
    assert first.model.fingerprint == second.model.fingerprint != other.model.fingerprint


def test_what_is_saved_opens_as_what_was_measured(robust: Trained, saved: Path) -> None:
    again = load(saved)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), robust.model(x))
    assert again.fingerprint == robust.model.fingerprint
    assert again.digest == robust.model.digest
    assert again.answers == robust.model.answers
    lineage = again.card.lineage
    assert lineage is not None
    assert (lineage.parent, lineage.objective, lineage.seed) == ("sample:digits", "adversarial", 0)
    assert lineage.images == 360
    assert again.card.measured["robust accuracy at 0.1"] == share(robust, "after", "robust accuracy at 0.1")


def test_the_figures_are_those_of_the_held_out_images(robust: Trained, saved: Path) -> None:
    model = load(saved)
    held = open_data(str(saved / "held-out.npz"), model)
    assert len(held) == 100
    run = attack(model, str(saved / "held-out.npz"), attacks=["apgd-ce", "apgd-dlr"], eps="0.1", alarms="none")
    told = run["robustness"].values
    assert told["accuracy"].value == share(robust, "after", "accuracy")
    assert abs(float(told["robust accuracy at 0.1"].value) - share(robust, "after", "robust accuracy at 0.1")) <= 0.02  # type: ignore[arg-type]


def test_no_held_out_image_was_trained_on(robust: Trained, saved: Path) -> None:
    whole = open_data(DATA, robust.model)
    every = whole.read_many(range(500)).inputs
    held = open_data(str(saved / "held-out.npz"), robust.model).read_many(range(100)).inputs
    assert all(any(torch.equal(one, other) for other in every) for one in held)
    assert robust.run["adversarial"].values["images"].value == 360
    assert robust.run["adversarial"].values["validation images"].value == 40


def test_a_saved_training_is_checked_like_any_run(saved: Path) -> None:
    assert not check(saved).complaints
    assert not check(saved / "before").complaints
    assert not recheck(saved, load(saved)).complaints


NAMES = ["model.safetensors", "model.yaml", "held-out.npz", "diff.html", "diff.json", "before/record.json"]


@pytest.mark.parametrize("name", [*NAMES, "before/report.html"])
def test_every_file_of_it_that_was_changed_is_told(saved: Path, name: str) -> None:
    file = saved / name
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-40] + b"0" + content[-39:])
        assert any(one.what == name for one in check(saved).complaints)
    finally:
        file.write_bytes(content)
    (saved / "before").rename(saved / "away")
    try:
        assert any(one.what == "before" for one in check(saved).complaints)
    finally:
        (saved / "away").rename(saved / "before")


def test_the_report_tells_the_story(saved: Path) -> None:
    page = (saved / "report.html").read_text(encoding="utf-8")
    assert "PGD adversarial training" in page
    assert 'href="diff.html"' in page
    assert "chosen for its accuracy under a stronger attack" in page
    difference = (saved / "diff.html").read_text(encoding="utf-8")
    assert re.search(r"Nothing \w+ .*; 1 outcome is better\.", difference)
    assert open_run(saved).record.verb == "train"


def test_certified_training_is_proved_by_bounds(parent: Model, tmp_path: Path) -> None:
    found = train(parent, DATA, objective="certified", eps=0.03, epochs=60, lr=3e-3, scratch=True)
    told = found.run["bounds"].values["certified accuracy at 0.03"]
    found.save(tmp_path / "run")
    run = bounds(load(tmp_path / "run"), str(tmp_path / "run" / "held-out.npz"), eps="0.03", method="ibp")
    assert run["bounds"].values["certified accuracy at 0.03"].value == told.value
    before = found.before["bounds"].values["certified accuracy at 0.03"].value
    assert before == 0
    assert float(told.value) > 0.3  # type: ignore[arg-type]


def test_catastrophic_overfitting_is_seen_where_it_happens(parent: Model) -> None:
    def told(steps: int) -> list[str]:
        found = train(
            parent,
            DATA,
            objective="adversarial",
            eps=0.2,
            epochs=12,
            lr=5e-3,
            parameters={"adversarial": {"steps": steps}},
        )
        return [event for row in found.epochs[-4:] for event in row["events"]]

    assert any("catastrophic overfitting" in event for event in told(1))
    assert not any("catastrophic overfitting" in event for event in told(7))


def test_only_the_named_layers_learn(parent: Model) -> None:
    found = train(parent, DATA, epochs=2, lr=1e-2, layers="head")
    old, new = parent.network, found.network
    assert old is not None
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, old.state_dict()[name]) == (not name.startswith("head.")), name
    values = found.run["standard"].values
    assert values["trained numbers"].value == 48 * 10 + 10
    assert values["frozen numbers"].value == sum(one.numel() for one in old.parameters()) - 490
    with pytest.raises(UsageError, match=r"no layer 'haed'; did you mean 'head'"):
        train(parent, DATA, epochs=1, layers="haed")


def test_a_new_head_learns_new_classes(parent: Model, tmp_path: Path) -> None:
    images = open_data(DATA, parent).read_many(range(500))
    parity = np.array([int(label or 0) % 2 for label in images.labels])
    other = with_head(parent, ["even", "odd"])
    found = train(other, (images.inputs, parity), epochs=10, lr=1e-2, layers="head")
    assert share(found, "after", "accuracy") > 0.85
    found.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert again.answers == ("even", "odd")
    assert again.architecture == "sample:digits(2)"
    assert again.card.lineage is not None
    assert again.card.lineage.parent_fingerprint == parent.fingerprint


def test_figures_of_batch_normalisation_that_a_script_keeps_as_weights_stay(tmp_path: Path) -> None:
    """torch.export takes a traced script's buffers for weights; nothing learns what an average is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    torch.jit.save(torch.jit.trace(network, torch.rand(2, 6)), tmp_path / "net.pt")
    model = load(tmp_path / "net.pt", shape=(6,), range=(0, 1))
    found = train(model, numbers(200), epochs=20, lr=1e-2)
    before, after = (share(found, side, "accuracy") for side in ("before", "after"))
    assert after > before + 0.2


def test_batches_of_one_are_refused_where_they_have_no_figures() -> None:
    model = load(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), shape=(6,), range=(0, 1))
    with pytest.raises(UsageError, match=r"batches of one of the \d+ images"):
        train(model, numbers(60), epochs=1, batch=1)


def test_a_notebook_without_gradients_can_train(plain: Model) -> None:
    with torch.no_grad():
        train(plain, numbers(60), epochs=1)
    with torch.inference_mode():
        train(plain, numbers(60), epochs=1)


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_a_program_is_trained_and_written_as_one(tmp_path: Path, name: str) -> None:
    live = load(seeded(Small), shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    export(live, tmp_path / name)
    model = load(tmp_path / name)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(120, 3, 16, 16, generator=generator)
    y = (x[:, 0].mean((1, 2)) > 0.5).long()
    found = train(model, (x, y.numpy()), epochs=3, lr=1e-2)
    assert any("batch normalisation" in note for note in found.run.findings[0].notes)
    found.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert again.format == "torch.export"
    assert (again(x[:4]) - model(x[:4])).abs().max() > 1e-3
    torch.testing.assert_close(again(x[:4]), found.model(x[:4]))


def test_a_live_module_is_copied_and_the_copy_is_given(tmp_path: Path) -> None:
    network = seeded(Small)
    model = load(network, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.rand(80, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0].mean((1, 2)) > 0.5).long()
    found = train(model, (x, y.numpy()), epochs=2, lr=1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    mine = seeded(Small)
    mine.load_state_dict(found.network.state_dict())
    assert isinstance(found.network, Small)
    torch.testing.assert_close(load(mine, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)(x[:3]), found.model(x[:3]))
    assert found.save(tmp_path / "run").name == "report.html"


def numbers(count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x = torch.rand(count, 6, generator=torch.Generator().manual_seed(0))
    return x.numpy(), (x[:, :classes].argmax(1)).numpy()


@pytest.fixture(scope="module")
def plain() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), shape=(6,), range=(0, 1))


WRONG: list[tuple[str, type[Exception], Any, dict[str, Any]]] = [
    ("of one class, 'class 0'; expected at least two", UsageError, (numbers(60)[0], np.zeros(60, dtype=int)), {}),
    ("holds 10 images; expected at least", UsageError, numbers(10), {}),
    ("labels are needed", UsageError, numbers(60)[0], {}),
    (r"takes inputs of shape \(6,\)", UsageError, (np.zeros((60, 5), dtype=np.float32), numbers(60)[1]), {}),
    ("labels of", UsageError, (numbers(60)[0], np.full(60, 7)), {}),
    ("no objective 'adverserial'; did you mean 'adversarial'", UsageError, numbers(60), {"objective": "adverserial"}),
    ("needs the size of the change", UsageError, numbers(60), {"objective": "trades"}),
    ("expected a size above 0", UsageError, numbers(60), {"objective": "trades", "eps": 0}),
    ("epsilon 'much'", UsageError, numbers(60), {"eps": "much"}),
    ("options of the training do not fit: epochs", UsageError, numbers(60), {"epochs": 0}),
    ("options of the training do not fit: lr", UsageError, numbers(60), {"lr": -1.0}),
    (
        "no parameter of adversarial 'step'",
        UsageError,
        numbers(60),
        {"objective": "adversarial", "eps": 0.1, "parameters": {"adversarial": {"step": 3}}},
    ),
    ("diverges in epoch", AnalysisError, numbers(200), {"lr": 1e20, "epochs": 20}),
    ("layers: expected names", UsageError, numbers(60), {"layers": []}),
    ("no such set of attacks|no plan", UsageError, numbers(60), {"eps": 0.1, "attack_plan": "standart"}),
]


@pytest.mark.parametrize(("words", "error", "data", "options"), WRONG)
def test_what_is_wrong_is_told(
    plain: Model, words: str, error: type[Exception], data: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(error, match=words):
        train(plain, data, **{"epochs": 1, **options})


def test_a_black_box_is_told_why() -> None:
    box = load(lambda x: np.zeros((len(x), 3), dtype=np.float32), shape=(6,))
    with pytest.raises(NotApplicableError, match="black box"):
        train(box, numbers(60), epochs=1)


def test_a_class_without_an_image_is_told(plain: Model) -> None:
    x, y = numbers(80)
    found = train(plain, (x[y != 2], y[y != 2]), epochs=1)
    assert any("no image that is trained on is of class 2" in note for note in found.run.findings[0].notes)


def test_held_out_images_that_were_trained_on_are_told(plain: Model) -> None:
    x, y = numbers(100)
    apart = train(plain, (x[:80], y[:80]), held=(x[80:], y[80:]), epochs=1)
    assert not any("flattered" in note for note in apart.run.record.notes)
    shared = train(plain, (x[:80], y[:80]), held=(x[70:], y[70:]), epochs=1)
    assert any("10 of 30 held-out images were trained on" in note for note in shared.run.record.notes)


def test_early_stopping_and_its_reason(plain: Model) -> None:
    found = train(plain, numbers(200), epochs=200, lr=1e-2, patience=2)
    values = found.run["standard"].values
    assert values["stopped"].value == "nothing got better for 2 epochs"
    assert int(values["epochs"].value) < 200  # type: ignore[call-overload]


def test_epochs_are_told_as_they_are_done(plain: Model) -> None:
    seen: list[dict[str, Any]] = []
    found = train(plain, numbers(100), epochs=3, epoch=seen.append)
    assert seen == list(found.epochs)
    assert [row["epoch"] for row in seen] == [1, 2, 3]


def test_the_call_is_written_down(plain: Model) -> None:
    found = train(plain, numbers(60), objective="adversarial", eps="8/255", epochs=1, seed=3)
    assert "objective='adversarial', eps='8/255', norm='linf', epochs=1" in found.run.record.command
    assert found.run.record.settings["seed"] == 3
