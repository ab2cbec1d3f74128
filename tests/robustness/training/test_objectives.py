"""Objectives beside their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from xai.models.model import Model
from xai.models.trainable import trainable
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.norms import Norm, size
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.adversarial import Adversarial
from xai.robustness.training.objectives.base import Step, objectives, ramp
from xai.robustness.training.objectives.certified import Certified
from xai.robustness.training.objectives.standard import Standard
from xai.robustness.training.objectives.trades import Trades


@pytest.fixture
def learner(digits: Model) -> Learner:
    return Learner(trainable(digits), Norm.LINF)


def step(digits: Model, epsilon: float, share: float = 1.0) -> Step:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, *digits.input.shape, generator=generator)
    return Step(x, torch.arange(8), epsilon, share, torch.Generator().manual_seed(1))


def test_the_four_of_the_papers_are_there() -> None:
    assert {"standard", "adversarial", "trades", "certified"} == set(objectives.all())


def test_plain_training_is_cross_entropy(learner: Learner, digits: Model) -> None:
    one = step(digits, 0.0)
    learner.trained.network.eval()
    torch.testing.assert_close(Standard().loss(learner, one), F.cross_entropy(digits(one.x), one.labels))


@pytest.mark.parametrize("norm", list(Norm))
def test_adversarial_points_lie_in_the_region_and_raise_the_loss(digits: Model, norm: Norm) -> None:
    learner = Learner(trainable(digits), norm)
    learner.trained.network.eval()
    epsilon = {Norm.LINF: 0.1, Norm.L2: 0.8, Norm.L1: 4.0}[norm]
    one = step(digits, epsilon)
    region = learner.region(epsilon)
    points = learner.climbed(
        one.x, one.x, lambda scores: F.cross_entropy(scores, one.labels, reduction="none"), region, 10
    )
    assert region.holds(one.x, points).all()
    before, after = (F.cross_entropy(digits(x), one.labels, reduction="none") for x in (one.x, points))
    assert (after > before + 0.5).all()


def test_the_search_leaves_figures_and_mode_of_the_network_alone(learner: Learner, digits: Model) -> None:
    network = learner.trained.network.train()
    before = {name: one.clone() for name, one in network.named_buffers()}
    one = step(digits, 0.1)
    learner.climbed(one.x, one.x, lambda scores: scores.sum(1), learner.region(0.1), 3)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


def test_adversarial_training_learns_from_harder_inputs(learner: Learner, digits: Model) -> None:
    learner.trained.network.eval()
    plain = Standard().loss(learner, step(digits, 0.1))
    hard = Adversarial(steps=10).loss(learner, step(digits, 0.1))
    assert hard > plain + 0.5
    nothing = Adversarial(steps=10).loss(learner, step(digits, 0.0))
    torch.testing.assert_close(nothing, plain)


def test_trades_is_cross_entropy_plus_beta_times_the_divergence(learner: Learner, digits: Model) -> None:
    learner.trained.network.eval()
    plain = Standard().loss(learner, step(digits, 0.1))
    once, twice = (Trades(beta=beta).loss(learner, step(digits, 0.1)) for beta in (1.0, 2.0))
    assert once > plain + 0.1
    torch.testing.assert_close(twice - once, once - plain)
    torch.testing.assert_close(Trades(beta=0).loss(learner, step(digits, 0.1)), plain)


def test_the_divergence_of_trades_is_that_of_the_paper(learner: Learner, digits: Model) -> None:
    learner.trained.network.eval()
    one = step(digits, 0.05)
    seen = []

    def remember(*given: object, **_: object) -> torch.Tensor:
        seen.append(original(*given))  # type: ignore[arg-type]
        return seen[-1]

    original = learner.climbed
    object.__setattr__(learner, "climbed", remember)
    found = Trades(beta=1.0).loss(learner, one)
    clean, shaken = digits(one.x).softmax(1), digits(seen[0]).softmax(1)
    divergence = (clean * (clean.log() - shaken.log())).sum(1).mean()
    torch.testing.assert_close(found, F.cross_entropy(digits(one.x), one.labels) + divergence, rtol=1e-4, atol=1e-5)


def test_certified_training_fears_the_worst_scores(learner: Learner, digits: Model) -> None:
    learner.trained.network.eval()
    one = step(digits, 0.001)
    plain = Standard().loss(learner, one)
    worst = Certified(kappa=0.0).loss(learner, one)
    half = Certified(kappa=0.5).loss(learner, one)
    assert worst > plain
    torch.testing.assert_close(half, (plain + worst) / 2)
    points = one.x + 0.001 * (2 * torch.rand(one.x.shape, generator=torch.Generator().manual_seed(2)) - 1)
    assert F.cross_entropy(digits(points.clamp(0, 1)), one.labels) <= worst  # no point is worse than the worst
    exact = Certified(kappa=0.0).loss(learner, step(digits, 0.0))
    torch.testing.assert_close(exact, plain, rtol=1e-3, atol=1e-3)


def test_crown_ibp_goes_over_to_ibp(learner: Learner, digits: Model) -> None:
    learner.trained.network.eval()
    tight, loose = (Certified(bound=bound, kappa=0.0, warmup=0.0, ramp=1.0) for bound in ("crown-ibp", "ibp"))
    early = step(digits, 0.001, share=0.2)
    assert tight.loss(learner, early) < loose.loss(learner, early)
    late = step(digits, 0.001, share=1.0)
    torch.testing.assert_close(tight.loss(learner, late), loose.loss(learner, late))


def test_before_the_change_grows_it_is_plain_training(learner: Learner, digits: Model) -> None:
    learner.trained.network.eval()
    early = step(digits, 0.0, share=0.01)
    torch.testing.assert_close(Certified().loss(learner, early), Standard().loss(learner, early))


def test_the_size_of_the_change_rises_to_what_was_asked() -> None:
    certified = Certified(warmup=0.1, ramp=0.6)
    assert [certified.size(0.2, share) for share in (0.0, 0.1, 0.6, 1.0)] == pytest.approx([0.0, 0.0, 0.2, 0.2])
    assert certified.size(0.2, 0.35) == pytest.approx(0.1)
    assert Adversarial(ramp=0.0).size(0.2, 0.0) == 0.2
    assert Standard().size(0.2, 0.5) == 0.2
    assert ramp(0.5, 0.0, 1.0) == 0.5


def test_l2_points_use_the_whole_ball(digits: Model) -> None:
    learner = Learner(trainable(digits), Norm.L2)
    learner.trained.network.eval()
    one = step(digits, 0.5)
    region = learner.region(0.5)
    points = learner.climbed(
        one.x, one.x, lambda scores: F.cross_entropy(scores, one.labels, reduction="none"), region, 7
    )
    assert (size(points - one.x, Norm.L2) > 0.3).all()


def test_bounds_are_learnt_with_the_batch_s_own_figures(learner: Learner, digits: Model) -> None:
    """With figures of earlier batches, weights would shrink bounds that the next batches blow up again."""
    one = step(digits, 0.002)
    learner.trained.network.train()
    with learner.observed() as figures:
        learner.scores(one.x)
    names = {name for name, _ in learner.trained.network.named_buffers() if "running" in name}
    assert figures.keys() == names
    moved = {name: 3 * figure.detach() + 1 for name, figure in figures.items()}
    loss = {}
    for scale in (1.0, 100.0):
        for name, buffer in learner.trained.network.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(scale)
        loss[scale] = Certified(kappa=0.0).loss(learner, one)
    torch.testing.assert_close(loss[1.0], loss[100.0], rtol=1e-4, atol=1e-4)
    ibp = bounders.get("ibp")()
    found, other = (learner.leads(one.x, one.labels, 0.002, ibp, tensors) for tensors in (figures, moved))
    assert not torch.allclose(found, other)
    learner.trained.network.eval()
    with learner.observed() as none:
        learner.scores(one.x)
    assert not none


def test_the_network_s_hooks_are_gone_afterwards(learner: Learner, digits: Model) -> None:
    with pytest.raises(ZeroDivisionError), learner.observed():
        raise ZeroDivisionError
    assert not any(module._forward_pre_hooks for module in learner.trained.network.modules())
