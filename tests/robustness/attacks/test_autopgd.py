"""APGD: every step against a plain version for one input, written from the papers with the whole history of losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import brentq

from tests.robustness.victims import case, linear, nearest
from xai.errors import NotApplicableError
from xai.models.model import Model
from xai.robustness.attacks.apgd_ce import ApgdCe
from xai.robustness.attacks.apgd_dlr import ApgdDlr
from xai.robustness.attacks.apgd_t import ApgdT
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import Norm
from xai.robustness.regions import Region
from xai.robustness.search import Case, search
from xai.robustness.victim import Victim

STEPS, SHAPE = 60, (2, 5, 5)
EPSILON = {Norm.LINF: 0.2, Norm.L2: 0.8, Norm.L1: 4.0}
ORDER = {Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}
ALL = (ApgdCe, ApgdDlr, ApgdT)


def network(x: torch.Tensor) -> torch.Tensor:
    """Return scores (n, 4) of a network that bends, so that losses rise and fall."""
    generator = torch.Generator().manual_seed(5)
    inner = torch.randn(50, 30, generator=generator, dtype=torch.float64)
    outer = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    return torch.sin(x.flatten(1) @ inner) @ outer


def seen_at(lanes: Lanes, attack: Attack) -> Seen:
    x = lanes.x.detach().requires_grad_()
    scores = network(x)
    loss = attack.loss(scores, lanes, False)
    slope = torch.autograd.grad(loss.sum(), x)[0]
    return Seen(scores.detach(), torch.zeros(len(x), dtype=torch.bool), loss.detach(), slope)


def begun(count: int, scene: Scene, attack: Attack) -> Lanes:
    """Return attempts in double precision, so that both versions see the same signs."""
    x = torch.rand(count, *SHAPE, generator=scene.generator, dtype=torch.float64)
    clean = network(x)
    zeros, label = torch.zeros(count, dtype=torch.long), clean.argmax(1)
    lanes = Lanes(torch.arange(count), zeros, zeros.clone(), x, label, label, clean, x.clone(), {})
    attack.begin(lanes, scene)
    return lanes


def plain_projection(x: torch.Tensor, point: torch.Tensor, norm: Norm, epsilon: float) -> torch.Tensor:
    delta = point - x
    if norm is Norm.LINF:
        return (x + delta.clamp(-epsilon, epsilon)).clamp(0, 1)
    if norm is Norm.L2:
        return (x + delta * min(1.0, epsilon / float(delta.norm()))).clamp(0, 1)

    def at(threshold: float) -> torch.Tensor:
        return (x + delta.sign() * (delta.abs() - threshold).clamp(min=0)).clamp(0, 1) - x

    def over(threshold: float) -> float:
        return float(at(threshold).abs().sum()) - epsilon

    return x + at(0 if over(0) <= 0 else float(brentq(over, 0, float(delta.abs().max()), xtol=1e-15)))


def plain_path(x: torch.Tensor, start: torch.Tensor, label: int, norm: Norm, widened: bool) -> list[torch.Tensor]:
    """Return every point that APGD looks at, from a start: Algorithm 1 of 2020; of 2021 for l1, perhaps in stages."""
    epsilon = EPSILON[norm]

    def look(point: torch.Tensor) -> tuple[float, torch.Tensor]:
        point = point.detach().requires_grad_()
        value = cross_entropy(network(point[None]), torch.tensor([label]))[0]
        return float(value.detach()), torch.autograd.grad(value, point)[0]

    def project(times: int) -> Project:
        return lambda point: plain_projection(x, point, norm, times * epsilon)

    if norm is not Norm.L1:
        return _plain_dense(x, start, look, project(1), norm)
    numbers = x.numel()
    if not widened:
        return _plain_sparse(x, start, look, project(1), epsilon, STEPS, 0.2, numbers)[0]
    points: list[torch.Tensor] = []
    share, count = 0.2, numbers
    for times, looks in ((3, 18), (2, 18), (1, 25)):
        some, best = _plain_sparse(x, start, look, project(times), times * epsilon, looks - 1, share, count)
        points += some
        start = project(max(times - 1, 1))(best)
        count = int((start != x).sum())
        share = count / numbers / 1.5
    return points


Look = Callable[[torch.Tensor], tuple[float, torch.Tensor]]
Project = Callable[[torch.Tensor], torch.Tensor]


def _plain_dense(x: torch.Tensor, start: torch.Tensor, look: Look, project: Project, norm: Norm) -> list[torch.Tensor]:
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    ends = [math.ceil(round(share * STEPS, 6)) for share in shares]
    value, slope = look(start)
    best, best_slope, size = start, slope, 2 * EPSILON[norm]
    here, before, points = start, start, [start]
    losses, sizes, best_at = [value], [size], [value]
    for k in range(STEPS):
        unit = slope.sign() if norm is Norm.LINF else slope / slope.norm()
        ahead = project(here + size * unit)
        weight = 1.0 if k == 0 else 0.75
        after = project(here + weight * (ahead - here) + (1 - weight) * (here - before))
        value, slope = look(after)
        points.append(after)
        before, here = here, after
        if value > max(losses):
            best, best_slope = after, slope
        losses.append(value)
        best_at.append(max(losses))
        sizes.append(size)
        if k + 1 in ends:
            last = ends[ends.index(k + 1) - 1]
            rises = sum(losses[i + 1] > losses[i] for i in range(last, k + 1))
            same = sizes[last] == sizes[k + 1] and best_at[last] == best_at[k + 1]
            if rises <= 0.75 * (k + 1 - last) or same:
                size, here, slope = size / 2, best, best_slope
    return points


def _plain_sparse(
    x: torch.Tensor,
    start: torch.Tensor,
    look: Look,
    project: Project,
    epsilon: float,
    steps: int,
    share: float,
    count: int,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    numbers = x.numel()
    value, slope = look(start)
    highest, best, best_slope = value, start, slope
    here, points, size = start, [start], epsilon
    for k in range(steps):
        moved = sorted(slope.abs().flatten().tolist(), reverse=True)
        least = moved[max(0, numbers - 1 - int((1 - share) * numbers))]
        step = slope.sign() * (slope.abs() >= least)
        here = project(here + size * step / step.abs().sum())
        value, slope = look(here)
        points.append(here)
        if value > highest:
            highest, best, best_slope = value, here, slope
        if (k + 1) % max(1, int(0.04 * steps)) == 0:
            now = int((best != x).sum())
            share = now / numbers / 1.5
            if now / count < 0.95:
                size, here, slope = epsilon, best, best_slope
            else:
                size = max(size / 1.5, epsilon / 10)
            count = now
    return points, best


@pytest.mark.parametrize(
    ("norm", "widened"), [(Norm.LINF, False), (Norm.L2, False), (Norm.L1, False), (Norm.L1, True), (Norm.L2, True)]
)
def test_every_step_is_the_one_of_the_paper(norm: Norm, widened: bool) -> None:
    attack = ApgdCe(steps=STEPS, widened=widened)
    scene = Scene(Region(norm, EPSILON[norm], 0.0, 1.0), torch.Generator().manual_seed(1), False)
    early, late, head_start = begun(4, scene, attack), begun(3, scene, attack), 17
    wanted = [
        plain_path(x, start, int(label), norm, widened)
        for lanes in (early, late)
        for x, start, label in zip(lanes.origin, lanes.x, lanes.label, strict=True)
    ]
    found: list[list[torch.Tensor]] = [[] for _ in wanted]
    late.sample = late.sample + 4
    lanes = early
    for turn in range(STEPS + head_start):
        if turn == head_start:  # lanes of different age in one batch
            lanes = lanes.join(late)
        lanes = lanes.take(lanes.step <= STEPS)
        for sample, x in zip(lanes.sample.tolist(), lanes.x, strict=True):
            found[sample].append(x)
        lanes.step = lanes.step + 1
        seen = seen_at(lanes, attack)
        going = lanes.step <= STEPS
        lanes, seen = lanes.take(going), seen.take(going)
        attack.advance(lanes, seen, scene)
    for one, other in zip(found[:4], wanted[:4], strict=True):
        assert len(one) == STEPS + 1
        for here, there in zip(one, other, strict=True):
            assert torch.allclose(here, there, atol=1e-7)
    for one, other in zip(found[4:], wanted[4:], strict=True):
        for here, there in zip(one, other, strict=False):
            assert torch.allclose(here, there, atol=1e-7)


@pytest.mark.parametrize("norm", tuple(Norm))
def test_starts_lie_at_full_distance(norm: Norm) -> None:
    scene = Scene(Region(norm, 0.3), torch.Generator().manual_seed(0), False)
    lanes = begun(50, scene, ApgdCe())
    away = scene.region.distance(lanes.origin, lanes.x)
    assert torch.allclose(away, torch.full_like(away, 0.3), rtol=1e-6)
    assert (lanes.x - lanes.origin).mean().abs() < 0.02
    assert not torch.equal(lanes.x[0] - lanes.origin[0], lanes.x[1] - lanes.origin[1])


def fallen(attack: Attack, model: Model, given: Case, norm: Norm, share: float) -> list[bool]:
    """Say which inputs fall within that share of their exact distance."""
    exact, found = nearest(model, given, ORDER[norm]), []
    for row, distance in enumerate(exact.tolist()):
        region = Region(norm, share * distance, -10, 10)
        scene = Scene(region, torch.Generator().manual_seed(0), given.wanted is not None)
        one = given.take(torch.tensor([row]))
        found.append(bool(search(attack, Victim(model), one, scene, batch=4).distance.isfinite()))
    return found


@pytest.mark.parametrize(("norm", "share"), [(Norm.LINF, 1.005), (Norm.L2, 1.005), (Norm.L1, 1.1)])
def test_two_linear_classes_fall_just_beyond_the_exact_distance_and_not_below(norm: Norm, share: float) -> None:
    model = linear(2)
    for attack in (ApgdCe(), ApgdCe(widened=True)):
        assert all(fallen(attack, model, case(model, 6), norm, share))
        assert not any(fallen(attack, model, case(model, 6), norm, 0.999))


# with more classes the steepest ascent of a loss is no longer the shortest way, hence the looser shares
@pytest.mark.parametrize(("norm", "share"), [(Norm.LINF, 1.005), (Norm.L2, 1.005), (Norm.L1, 1.2)])
def test_one_of_several_linear_classes_is_reached_from_just_beyond_the_exact_distance(norm: Norm, share: float) -> None:
    model = linear()
    assert all(fallen(ApgdT(), model, case(model, 6), norm, share))
    for attack in ALL:
        assert not any(fallen(attack(steps=20), model, case(model, 6), norm, 0.999))


@pytest.mark.parametrize("attack", [ApgdCe, ApgdT])
@pytest.mark.parametrize("norm", tuple(Norm))
def test_a_wanted_linear_class_is_reached_beyond_the_exact_distance_and_not_below(
    attack: type[Attack], norm: Norm
) -> None:
    model = linear()
    given = case(model, 6, wanted=2)
    assert all(fallen(attack(), model, given, norm, 1.2))
    assert not any(fallen(attack(steps=20), model, given, norm, 0.999))


def test_targets_are_the_classes_by_clean_score_and_a_restart_keeps_its_target() -> None:
    attack = ApgdT(targets=3, restarts=2)
    assert attack.attempts(4, targeted=False) == 6
    assert attack.attempts(10, targeted=False) == 6
    assert attack.attempts(10, targeted=True) == 2
    scene = Scene(Region(Norm.LINF, 0.1, 0, 1), torch.Generator().manual_seed(0), False)
    lanes = begun(6, scene, attack)
    lanes.attempt = torch.arange(6)
    attack.begin(lanes, scene)
    for row, toward in enumerate(lanes.own["toward"].tolist()):
        others = [c for c in lanes.clean[row].argsort(descending=True).tolist() if c != int(lanes.label[row])]
        assert toward == others[row // 2]


@pytest.mark.parametrize(("attack", "least"), [(ApgdCe, 2), (ApgdDlr, 3), (ApgdT, 4)])
def test_a_ratio_of_scores_needs_enough_of_them(attack: type[Attack], least: int) -> None:
    attack().applies(least, Norm.L2)
    if least > 2:
        with pytest.raises(NotApplicableError, match=f"needs at least {least} classes; the model has {least - 1}"):
            attack().applies(least - 1, Norm.L2)
    model = linear(least)
    scene = Scene(Region(Norm.LINF, 3.0, -10, 10), torch.Generator().manual_seed(0), False)
    assert search(attack(steps=10), Victim(model), case(model), scene, batch=5).distance.isfinite().all()


def test_ratios_do_not_see_the_scale_of_the_logits() -> None:
    scores, label = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    zeros = torch.zeros(6, dtype=torch.long)
    toward = {"toward": (label + 1) % 5}
    lanes = Lanes(zeros, zeros, zeros, scores, label, (label + 1) % 5, scores, scores, toward)
    for attack in (ApgdDlr(), ApgdT()):
        given = attack.loss(scores, lanes, False)
        assert torch.allclose(given, attack.loss(1000 * scores, lanes, False), atol=1e-9)


def test_a_ratio_without_a_target_is_not_used_for_a_wanted_class() -> None:
    for attack in (ApgdCe(), ApgdT()):
        attack.applies(10, Norm.LINF, targeted=True)
    with pytest.raises(NotApplicableError, match="cannot aim at a wanted one"):
        ApgdDlr().applies(10, Norm.LINF, targeted=True)
