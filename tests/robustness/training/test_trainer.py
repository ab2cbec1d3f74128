"""The loop: every image once an epoch, checkpoints to the same weights, the best epoch, and what goes wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xai.api import load
from xai.models.trainable import trainable
from xai.robustness.norms import Norm
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.adversarial import Adversarial
from xai.robustness.training.objectives.base import Objective
from xai.robustness.training.objectives.standard import Standard
from xai.robustness.training.trainer import CHECKPOINT, DivergedError, Recipe, Trainer, rate
from xai.robustness.training.watch import Watch, diverges, events
from xai.runtime import Runtime


class Net(nn.Module):
    """Figures of the batch and drawn numbers: all that a resumed run must take up."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def numbers(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, :3] + x[:, 3:]).argmax(1)


class Given:
    """Images in memory that remember which were asked for."""

    def __init__(self) -> None:
        self.x, self.labels = numbers(201, 0)
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += indices
        return self.x[indices], self.labels[indices]


def trainer(folder: Path | None = None, objective: Objective | None = None, **options: Any) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load(Net(), shape=(6,), range=(0, 1))
    progress = options.pop("progress", None)
    runtime = Runtime(threads=1, **({"progress": progress} if progress else {}))
    learner, chosen = Learner(trainable(model), Norm.LINF), objective or Standard()
    epsilon = options.pop("epsilon", 0.05)
    x, labels = numbers(60, 1)
    return Trainer(
        learner,
        chosen,
        Recipe(**{"epochs": 4, "batch": 32, "lr": 0.01, **options}),
        epsilon,
        Given(),
        Watch(learner, chosen, x, labels, epsilon, runtime),
        runtime,
        folder=folder,
    )


def weights(one: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in one.network.state_dict().items()}


def test_it_learns_and_every_image_is_shown_once_an_epoch() -> None:
    one = trainer(epochs=15)
    assert one.run() == "all epochs were run"
    assert one.rows[-1]["clean"] > 0.85 > one.rows[0]["clean"]
    assert [row["epoch"] for row in one.rows] == list(range(1, 16))
    asked = one.pictures.asked  # type: ignore[attr-defined]
    assert sorted(asked[:201]) == list(range(201))
    assert asked[:201] != asked[201:402]
    assert not one.network.training


@pytest.mark.parametrize("objective", [Standard(), Adversarial(steps=2)])
@pytest.mark.parametrize("at", [3, 9, 14])
def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Objective, at: int
) -> None:
    whole = trainer(objective=objective)
    whole.run()

    class KilledError(Exception):
        pass

    def kill(stage: str, done: int, total: int) -> None:
        if done == at:
            raise KilledError

    monkeypatch.setattr("xai.robustness.training.trainer.EVERY", 0.0)
    killed = trainer(tmp_path, objective, progress=kill)
    with pytest.raises(KilledError):
        killed.run()
    assert (tmp_path / CHECKPOINT).exists()
    again = trainer(tmp_path, objective)
    assert again.step in (at, at - 1)
    again.run()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    timeless = [{**row, "seconds": 0} for row in whole.rows]
    assert timeless == [{**row, "seconds": 0} for row in again.rows]
    assert whole.best == again.best


def test_a_run_that_has_ended_stays_as_it_is(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    first.run()
    second = trainer(tmp_path)
    assert second.run() == "all epochs were run"
    assert not second.pictures.asked  # type: ignore[attr-defined]
    assert all(torch.equal(tensor, second.network.state_dict()[name]) for name, tensor in weights(first).items())


def test_the_weights_are_those_of_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(epochs=4)
    seen = []
    figures = iter([0.5, 0.9, 0.9, 0.7])

    def look(_: Watch, epoch: int) -> dict[str, Any]:
        seen.append(weights(one))
        return {"clean": next(figures), "attacked": None, "stronger": None, "certified": None}

    monkeypatch.setattr(Watch, "look", look)
    one.run()
    assert one.best == 3  # of two that are equal the later
    assert all(torch.equal(tensor, seen[2][name]) for name, tensor in one.network.state_dict().items())


def test_an_epoch_at_less_than_the_full_size_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(objective=Adversarial(steps=1, ramp=0.6), epochs=4)
    figures = iter([0.9, 0.8, 0.3, 0.2])

    def look(*_: object) -> dict[str, Any]:
        return {"clean": 1.0, "attacked": 1.0, "stronger": next(figures), "certified": None}

    monkeypatch.setattr(Watch, "look", look)
    one.run()
    assert [row["epsilon"] < 0.05 for row in one.rows] == [True, True, False, False]
    assert one.best == 3


def test_patience_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(epochs=50, patience=3)
    figures = iter([0.5, 0.9, *[0.6] * 50])

    def look(*_: object) -> dict[str, Any]:
        return {"clean": next(figures), "attacked": None, "stronger": None, "certified": None}

    monkeypatch.setattr(Watch, "look", look)
    assert one.run() == "nothing got better for 3 epochs"
    assert (len(one.rows), one.best) == (5, 2)


@pytest.mark.parametrize("lr", [1e30, 1e18])
def test_a_learning_rate_that_diverges_is_told(lr: float) -> None:
    with pytest.raises(DivergedError, match=r"diverges in epoch \d+: .*lower learning rate, such as --lr"):
        trainer(epochs=30, lr=lr).run()


def test_a_loss_that_is_no_number_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standard, "loss", lambda self, learner, step: learner.scores(step.x).sum() * math.nan)
    with pytest.raises(DivergedError, match="the loss is nan in step 1"):
        trainer(tmp_path).run()


def row(**figures: Any) -> dict[str, Any]:
    return {"loss": 1.0, "clean": 0.9, "attacked": None, "stronger": None, "certified": None, **figures}


def test_catastrophic_overfitting_is_noticed() -> None:
    assert events([row(attacked=0.8, stronger=0.75)], 10, 50) == []
    (told,) = events([row(attacked=0.9, stronger=0.1)], 10, 50)
    assert told.startswith("catastrophic overfitting: a stronger attack leaves far less right")
    (fell,) = events([row(attacked=0.6, stronger=0.6), row(attacked=0.3, stronger=0.3)], 10, 50)
    assert events([row(attacked=0.9, stronger=0.1)], 10, 4) == []  # one image of four is no sign
    assert "more than 20 points below" in fell


def test_learning_nothing_is_noticed_and_divergence_is_more_than_that() -> None:
    guessing = [row(clean=0.1, loss=2.3)] * 3
    assert "learns nothing" in events(guessing, 10, 50)[0]
    assert "learns nothing" in events(guessing[:1], 10, 50, ended=True)[0]
    assert events(guessing[:1], 10, 50) == []
    assert not diverges(guessing, 10, 50, ended=True)
    assert diverges([row(clean=0.1, loss=50.0), row(clean=0.1, loss=60.0)], 10, 50)
    assert diverges([row(clean=0.1, loss=50.0)], 10, 50, ended=True)
    assert not diverges([row(clean=0.1, loss=60.0), row(clean=0.1, loss=50.0)], 10, 50)
    assert not diverges([row(clean=0.8, loss=50.0), row(clean=0.8, loss=60.0)], 10, 50, ended=True)


def test_the_learning_rate_rises_and_falls() -> None:
    assert rate(0.0) < 0.05
    assert rate(0.05) == rate(0.3) == rate(0.5) == 1.0
    assert rate(0.75) == pytest.approx(0.5)
    assert rate(1.0) == pytest.approx(0.0)


def test_a_checkpoint_holds_data_alone(tmp_path: Path) -> None:
    trainer(tmp_path, epochs=1).run()
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert json.loads(content["rows"])[0]["epoch"] == 1
