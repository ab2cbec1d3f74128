"""The draws: fresh, Gaussian, the same in any batch, counted once, and continued where they were left."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
import torch

from tests.robustness.smoothing.models import answering, opened
from tests.robustness.victims import SHAPE
from xai.errors import NotApplicableError, UsageError
from xai.models.model import Model
from xai.robustness.smoothing.draws import NOTHING, Draws, Tally, answers
from xai.robustness.smoothing.plan import BLOCK, Block, Smoothing, Use
from xai.runtime import Runtime

PLAN = Smoothing(0.5, n0=300, n=2 * BLOCK + 50)


def draws(model: Model, plan: Smoothing = PLAN, name: str = "one", x: float = 0.3, **runtime: int) -> Draws:
    return Draws(model, torch.full(SHAPE, x), plan, Runtime(**runtime), name)


def seen(plan: Smoothing = PLAN, name: str = "one", **runtime: int) -> torch.Tensor:
    """Return every noisy copy that a model gets, in order."""
    kept: list[torch.Tensor] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.clone())
        return x.flatten(1)[:, 0] > 0

    around = draws(answering(look), plan, name, **runtime)
    for block in plan.blocks:
        around.count(block)
    return torch.cat(kept)


def test_noise_is_gaussian_around_the_input_and_not_clipped() -> None:
    noise = (seen().double() - 0.3) / 0.5
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 / count**0.5
    assert abs(float(noise.std()) - 1) < 5 / (2 * count) ** 0.5
    for quantile in (-3.0, -1.0, 0.5, 2.0):
        share = float(torch.special.ndtr(torch.tensor(quantile, dtype=torch.float64)))
        assert float((noise < quantile).double().mean()) == pytest.approx(
            share, abs=5 * (share * (1 - share) / count) ** 0.5
        )
    flat = noise.flatten(1)
    between = (flat.T @ flat / len(flat)).fill_diagonal_(0)  # numbers of one copy are independent
    assert float(between.abs().max()) < 5 / len(flat) ** 0.5


def test_no_draw_is_used_twice() -> None:
    copies = seen()
    assert len(copies) == PLAN.n0 + PLAN.n
    assert len(copies.flatten(1).unique(dim=0)) == len(copies)


def test_the_noise_follows_from_seed_name_and_block_alone() -> None:
    assert torch.equal(seen(), seen())
    assert torch.equal(seen(), seen(memory=1))
    for others in (seen(name="two"), seen(seed=1)):
        assert len(torch.cat((seen(), others)).flatten(1).unique(dim=0)) == 2 * (PLAN.n0 + PLAN.n)
    last = Smoothing(0.5, n0=300, n=3 * BLOCK)
    assert torch.equal(seen(last)[: PLAN.n0 + PLAN.n], seen())  # the last block of fewer draws is the beginning of it


def test_the_input_leaves_no_trace_in_the_last_bits_of_a_copy() -> None:
    # 1 and float32 noise add up to multiples of 2^-24; of numbers near 0 that are rounded once, one in twelve is one.
    def coarse(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        scaled = flat.double() * 2**24
        return ((scaled == scaled.round()) | (flat.abs() > 1 / 8)).all(1)

    found = draws(answering(coarse), Smoothing(1.0, n=BLOCK), x=1.0).count(Block(Use.ESTIMATION, 0, BLOCK))
    finer = (NormalDist().cdf(-0.875) - NormalDist().cdf(-1.125)) * (1 - 1 / 12)
    share = 1 - (1 - finer) ** 20
    assert found[0] / BLOCK == pytest.approx(share, abs=5 * (share * (1 - share) / BLOCK) ** 0.5)


@pytest.mark.parametrize("memory", [1, 30_000, 10**9])
def test_counts_are_those_of_a_loop_over_single_copies(memory: int) -> None:
    model = opened(5)
    around = draws(model, memory=memory)
    for block in PLAN.blocks:
        generator = Runtime().generator("smoothing", "one", block.use, str(block.number))
        said: Counter[int] = Counter()
        for _ in range(block.draws):
            noise = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
            said[int(model((around.x + 0.5 * noise).float()[None])[0].argmax())] += 1
        assert around.count(block) == dict(said)


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_counts() -> None:
    whole = draws(opened(5)).tally
    for _ in PLAN.blocks:
        whole = draws(opened(5)).advance(whole)
    kept = draws(opened(5)).tally.model_dump_json()
    for _ in PLAN.blocks:  # each in a process of its own, as it were
        kept = draws(opened(5)).advance(Tally.model_validate_json(kept)).model_dump_json()
    assert Tally.model_validate_json(kept) == whole
    assert whole.done == len(PLAN.blocks)
    assert {use: sum(counts.values()) for use, counts in whole.counts.items()} == {"selection": 300, "estimation": 2050}
    assert draws(opened(5)).advance(whole) == whole


def test_a_block_that_is_interrupted_leaves_no_count() -> None:
    class Interrupted(Exception):  # noqa: N818  # as KeyboardInterrupt
        pass

    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if done > 400:
            raise Interrupted

    around = draws(opened())
    first = around.advance(around.tally, tell)
    with pytest.raises(Interrupted):
        around.advance(first, tell)
    assert 400 < done < 300 + BLOCK
    assert around.advance(first) == around.advance(around.advance(around.tally))


OTHERS: dict[str, dict[str, Any]] = {
    "name": {"name": "two"},
    "seed": {"runtime": Runtime(seed=1)},
    "input": {"x": torch.full(SHAPE, 0.31)},
    "noise": {"plan": replace(PLAN, sigma=0.25)},
    "more draws": {"plan": replace(PLAN, n=10 * PLAN.n)},
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_tally_of_other_draws_is_refused(other: str) -> None:
    with pytest.raises(UsageError, match="expected those of this run"):
        replace(draws(opened(5)), **OTHERS[other]).advance(draws(opened(5)).tally)


def test_the_tally_of_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match="of another model"):
        draws(opened(5)).advance(draws(opened()).tally)


def test_an_answer_is_the_one_that_the_model_gives() -> None:
    outputs = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    model = opened(5)
    assert [model.answers[place] for place in answers(model, outputs)] == [model.answer(row) for row in outputs]


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_one_output_is_for_its_class_or_against_it(output: str) -> None:
    one = opened(1)
    model = replace(one, card=one.card.model_copy(update={"output": output}))
    outputs = torch.tensor([[-1.0], [0.0], [0.3], [0.5], [0.7], [2.0]])
    said = [model.answer(row) for row in outputs]
    assert [model.answers[place] for place in answers(model, outputs)] == said
    assert len(set(said)) == 2


def test_outputs_that_are_not_finite_are_no_answer() -> None:
    nan, inf = torch.nan, torch.inf
    outputs = torch.tensor([[1.0, 0.0], [nan, 0.0], [0.0, nan], [inf, 0.0], [0.0, -inf]])
    assert answers(opened(), outputs).tolist() == [0, NOTHING, NOTHING, NOTHING, NOTHING]
    assert answers(opened(1), torch.tensor([[nan], [inf], [2.0]])).tolist() == [NOTHING, NOTHING, 1]


def test_values_are_refused_because_they_are_no_classes() -> None:
    model = opened(5)
    with pytest.raises(NotApplicableError, match="values, not classes"):
        draws(replace(model, card=model.card.model_copy(update={"output": "values"})))


def test_an_input_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected one input of shape \(1, 4, 5\), received \(2, 1, 4, 5\)"):
        Draws(opened(), torch.zeros(2, *SHAPE), PLAN, Runtime(), "two")


def test_copies_of_a_model_that_draws_are_independent_and_repeatable() -> None:
    model = answering(lambda x: (torch.rand(()) < 0.7).expand(len(x)), draws=True)  # one number for a whole batch
    block = Block(Use.ESTIMATION, 0, BLOCK)
    before = torch.random.get_rng_state()
    torch.manual_seed(1)
    first = draws(model).count(block)
    torch.manual_seed(2)
    assert draws(model).count(block) == first
    assert draws(model).count(replace(block, number=1)) != first
    torch.random.set_rng_state(before)
    shares = [draws(model).count(replace(block, number=number))[1] / BLOCK for number in range(20)]
    # binomial: a number for a batch of 128 would spread eleven times as wide
    assert torch.tensor(shares).std() < 2 * (0.7 * 0.3 / BLOCK) ** 0.5
    assert sum(shares) / 20 == pytest.approx(0.7, abs=0.02)


def test_a_model_that_draws_leaves_the_random_state_as_it_was() -> None:
    model = answering(lambda x: torch.rand(len(x)) < 0.7, draws=True)
    before = torch.random.get_rng_state()
    draws(model).count(Block(Use.SELECTION, 0, 20))
    assert torch.equal(torch.random.get_rng_state(), before)
