"""The truth that verdicts are compared with, and that the comparison notices what is wrong."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from benchmarks import verification_truth
from benchmarks.verification_truth import KINDS, measure
from tests.robustness.verify.exact import Absolute, Exact
from xai.engine.deciding import Judge
from xai.robustness.verify.decide import Outcome, Verdict


@pytest.mark.parametrize("kind", KINDS)
def test_the_expressions_are_the_network_and_the_least_value_lies_between_its_ends(kind: str) -> None:
    rng, own = np.random.default_rng(3), KINDS[kind]
    net = verification_truth._drawn(own.make(rng), 3)
    centre = rng.standard_normal(int(np.prod(own.shape)))
    exact = Exact(net, own.shape, centre - own.reach / 2, centre + own.reach / 2)
    points = rng.uniform(centre - own.reach / 2, centre + own.reach / 2, (500, len(centre)))
    outputs = net.double()(torch.tensor(points).reshape(-1, *own.shape)).numpy()
    assert np.abs(exact.value(points) - outputs).max() < 1e-12
    rows, limits = rng.standard_normal((2, 3)), rng.standard_normal(2)
    least = exact.least(rows, limits)
    assert 0 < least.upper - least.lower < 1e-10
    assert least.upper <= (outputs @ rows.T - limits).max(1).min() + 1e-10


def test_the_least_value_is_that_of_a_network_that_is_known() -> None:
    """|x| over [-1, 3]."""
    exact = Exact(nn.Sequential(nn.Flatten(), Absolute()), (1,), np.array([-1.0]), np.array([3.0]))
    for rows, limits, truth in (([1], [0], 0.0), ([-1], [0], -3.0), ([1, -1], [1, -2], 0.5)):
        least = exact.least(np.array(rows, dtype=float)[:, None], np.array(limits, dtype=float))
        assert least.lower <= truth <= least.upper
        assert least.upper - least.lower < 1e-11


@pytest.mark.parametrize("seed", range(3))
def test_the_least_value_is_that_of_all_patterns_of_activations(seed: int) -> None:
    net = verification_truth._drawn(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU()), seed)
    net.append(nn.Linear(3, 1, bias=False)).requires_grad_(False)
    layers = [(part.weight.double().numpy(), part.bias.double().numpy()) for part in (net[0], net[2])]
    least = Exact(net, (3,), -np.ones(3), np.ones(3)).least(np.ones((1, 1)), np.zeros(1))
    found = [_least_of(layers, net[4].weight.double().numpy(), on) for on in itertools.product((0.0, 1.0), repeat=7)]
    assert least.lower - 1e-7 <= min(found) <= least.upper + 1e-7


def _least_of(layers: list, last: np.ndarray, on: tuple[float, ...]) -> float:
    """Return the least output among the inputs with one pattern of activations, infinity if there are none."""
    matrix, offset, rows, ends = np.eye(3), np.zeros(3), [], []
    for (weight, bias), side in zip(layers, (np.array(on[:4]), np.array(on[4:])), strict=True):
        matrix, offset = weight @ matrix, weight @ offset + bias
        rows.append((1 - 2 * side)[:, None] * matrix)
        ends.append((2 * side - 1) * offset)
        matrix, offset = side[:, None] * matrix, side * offset
    found = linprog((last @ matrix)[0], np.concatenate(rows), np.concatenate(ends), bounds=(-1, 1))
    return found.fun + float((last @ offset)[0]) if found.success else np.inf


def test_no_verdict_of_a_few_networks_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_VERIFY_NETWORKS", "2")
    found = measure("cpu")
    assert found["networks"] == 2
    assert found["each wrong one"] == []


def test_a_run_that_was_ended_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verification_truth, "FILE_EVERY", 100)
    monkeypatch.setattr(verification_truth, "DRAWS", 2)
    monkeypatch.setenv("XAI_VERIFY_NETWORKS", "4")
    whole = measure("cpu")
    monkeypatch.setenv("XAI_VERIFY_NETWORKS", "2")
    (tmp_path / "half.json").write_text(json.dumps(measure("cpu")))
    monkeypatch.setenv("XAI_VERIFY_NETWORKS", "4")
    monkeypatch.setenv("XAI_VERIFY_KEPT", str(tmp_path / "half.json"))
    both = measure("cpu")
    assert both["networks"] == whole["networks"] == 4
    assert both["most ReLUs on either side"] == whole["most ReLUs on either side"]
    assert _truths(both) == _truths(whole)


def _truths(found: dict) -> Counter:
    """Return how often each truth was asked about, by group: what was decided depends on the clock."""
    counts: Counter = Counter()
    for group, verdicts in found["by"].items():
        for name, count in verdicts.items():
            counts[group, name.split(":")[0]] += count
    return counts


def test_wrong_verdicts_and_wrong_counterexamples_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Judge.decide

    def wrong(judge: Judge, seconds: float) -> Outcome:
        outcome = right(judge, seconds)
        if outcome.verdict is Verdict.VIOLATED:
            return Outcome(Verdict.VIOLATED, outcome.by, 0.0, counterexample=outcome.counterexample + 100)
        return Outcome(Verdict.VIOLATED, "a guess", 0.0)

    monkeypatch.setattr(Judge, "decide", wrong)
    monkeypatch.setattr(verification_truth, "FILE_EVERY", 100)
    monkeypatch.setenv("XAI_VERIFY_NETWORKS", "6")
    found = measure("cpu")
    held = sum(count for name, count in found["truth: verdict"].items() if name.startswith("holds"))
    assert 0 < held < found["networks"]
    assert sum("in truth holds" in one for one in found["each wrong one"]) == held
    assert found["wrong"] == found["networks"]
