from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.robustness.verify.nets import Dense, box
from xai.robustness.bounds.analysis import Analysis, TimeUpError
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify import problem
from xai.robustness.verify.decide import Verdict
from xai.robustness.verify.property import Case, Property
from xai.robustness.verify.search import LATE

HOLDS, VIOLATED, NOT_DECIDED = Verdict.HOLDS, Verdict.VIOLATED, Verdict.NOT_DECIDED


def rows(*row: float) -> torch.Tensor:
    return torch.tensor([row], dtype=torch.float64)


@pytest.fixture(params=["input splitting", "activation splitting"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let both ways search in networks of few inputs."""
    if request.param == "activation splitting":
        monkeypatch.setattr(problem, "FEW", 0)
    return str(request.param)


@pytest.mark.parametrize("seed", range(24))
def test_no_verdict_is_wrong_beside_the_exact_truth(seed: int, few: str) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(rng.integers(1, 4)), *(int(size) for size in rng.integers(2, 8, rng.integers(1, 4))), 3]
    net = Dense.drawn(sizes, seed)
    centre = rng.standard_normal(sizes[0])
    lower, upper = (centre + sign * rng.uniform(0.05, 1.5) for sign in (-1, 1))
    row = rng.standard_normal(3)
    least = net.least(row, lower, upper)
    for apart in (-0.2, -1e-4, 1e-4, 0.2):  # the limit below the truth, which holds, or above
        case = Case(box(lower, upper), rows(*row), torch.tensor([least + apart], dtype=torch.float64))
        found = net.verifier().decide(Property((case,)), 20)
        assert found.verdict is (HOLDS if apart < 0 else VIOLATED), (least, found)
        if found.counterexample is not None:
            point = found.counterexample.double().numpy().ravel()
            assert ((point >= lower) & (point <= upper)).all()
            assert net(found.counterexample[None])[0].double().numpy() @ row <= least + apart


def test_rows_of_one_case_must_all_be_met(few: str) -> None:
    """y0 <= -.5 and y1 <= -.5 never come together for y = (x, -x), and each alone does."""
    net = Dense(
        (torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])), (torch.zeros(2), torch.zeros(2))
    )
    both = Case(box([-1], [1]), torch.eye(2, dtype=torch.float64), torch.tensor([-0.5, -0.5], dtype=torch.float64))
    alone = Case(box([-1], [1]), torch.eye(2, dtype=torch.float64)[:1], torch.tensor([-0.5], dtype=torch.float64))
    assert net.verifier().decide(Property((both,)), 20).verdict is HOLDS
    assert net.verifier().decide(Property((alone,)), 20).verdict is VIOLATED
    assert net.verifier().decide(Property((both, replace(alone, name="one"))), 20).case == "one"


@pytest.mark.parametrize("seed", range(12))
def test_margins_of_rounding_size_are_never_decided_wrongly(seed: int, few: str) -> None:
    """Sums of tenths: the truth in real numbers is known as a fraction, the limit lies at it or one rounding off."""
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.integers(-9, 10, (1, 7)) / 10, dtype=torch.float32)
    net = Dense(
        (torch.cat([weight, -weight]), torch.tensor([[1.0, -1.0]])), (torch.tensor([0.1, -0.1]), torch.tensor([0.0]))
    )  # w x + .1 by way of two ReLUs
    exact = [Fraction(float(part)) for part in weight[0]]
    least = Fraction(float(torch.tensor(0.1))) - sum(abs(part) for part in exact)
    for off in (-1, 0, 1):
        limit = np.nextafter(float(least), off * np.inf) if off else float(least)
        case = Case(box([-1] * 7, [1] * 7), rows(1), torch.tensor([limit], dtype=torch.float64))
        found = net.verifier().decide(Property((case,)), 0.3)
        truth = VIOLATED if least <= Fraction(float(limit)) else HOLDS
        assert found.verdict in (truth, NOT_DECIDED), (limit, found)


def test_a_proof_for_float32_gives_way_to_what_float32_does() -> None:
    """(x + 1e8) - 1e8 is x in real numbers; float32 gives 0 for every x of the box."""
    net = Dense(
        (torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1)),
        (torch.tensor([1e8]), torch.tensor([-1e8]), torch.tensor([0.0])),
    )
    case = Case(box([1.0], [3.0]), rows(1), torch.tensor([0.5], dtype=torch.float64))
    assert net.verifier().decide(Property((case,)), 5).verdict is HOLDS
    assert net.verifier(Arithmetic.FLOAT).decide(Property((case,)), 5).verdict is VIOLATED


def test_the_same_seed_gives_the_same_search(few: str) -> None:
    net = Dense.drawn([3, 12, 12, 2], 5)
    least = net.least(np.array([1.0, -1.0]), -np.ones(3), np.ones(3))
    case = Case(box([-1] * 3, [1] * 3), rows(1, -1), torch.tensor([least - 1e-3], dtype=torch.float64))
    first, second = (net.verifier().decide(Property((case,)), 30) for _ in range(2))
    assert first.parts == second.parts > 1
    assert first.verdict is second.verdict is not NOT_DECIDED


def test_what_takes_too_long_is_given_up_with_the_best_bound() -> None:
    net = Dense.drawn([8, 60, 60, 60, 2], 1)
    least = float(net(torch.rand(4000, 8) * 4 - 2).double()[:, 0].min())
    case = Case(box([-2] * 8, [2] * 8), rows(1, 0), torch.tensor([least - 1.0], dtype=torch.float64))
    found = net.verifier().decide(Property((case,)), 0.1)
    assert found.verdict is NOT_DECIDED
    assert found.reason == LATE
    assert found.seconds < 5
    assert found.bound is not None
    assert found.bound <= 0


def test_bounds_that_take_too_long_leave_time_for_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A property that only a search decides is decided where the dear bounds of the region never come to an end."""
    monkeypatch.setattr(problem, "FEW", 0)
    net = Dense.drawn([4, 12, 12, 2], 3)
    least = net.least(np.array([1.0, -1.0]), -np.ones(4), np.ones(4))
    case = Case(box([-1] * 4, [1] * 4), rows(1, -1), torch.tensor([least - 0.05], dtype=torch.float64))
    verifier = net.verifier()
    assert verifier.decide(Property((case,)), 30).by == "activation splitting"

    def endless(analysis: Analysis, _: int) -> None:
        while not analysis.late():
            time.sleep(0.01)
        raise TimeUpError

    verifier.dear = bounders.get("alpha-crown")()
    monkeypatch.setattr(verifier.dear, "prepare", endless)
    found = verifier.decide(Property((case,)), 10)
    assert (found.verdict, found.by) == (HOLDS, "activation splitting")
    assert 3 < found.seconds < 10


def test_a_point_is_decided_without_any_cut() -> None:
    net = Dense.drawn([2, 4, 2], 0)
    x = torch.tensor([[0.25, -0.5]], dtype=torch.float64)
    value = float(net(x)[0, 0])
    for apart, verdict in ((-1e-6, HOLDS), (1e-6, VIOLATED)):
        case = Case(box(x[0].tolist(), x[0].tolist()), rows(1, 0), torch.tensor([value + apart], dtype=torch.float64))
        assert net.verifier().decide(Property((case,)), 5).verdict is verdict
