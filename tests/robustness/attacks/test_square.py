"""Square: what it proposes, what it may ask, and that it finds what there is."""

from __future__ import annotations

import pytest
import torch

import xai
from tests.robustness.victims import case, linear, nearest
from xai.robustness.attacks.base import Lanes, Scene, Seen
from xai.robustness.attacks.square import Square
from xai.robustness.norms import Norm
from xai.robustness.regions import Region
from xai.robustness.search import Case, search
from xai.robustness.victim import Victim

ORDER = {Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}


def scene(norm: Norm, epsilon: float, *, targeted: bool = False, limit: float = 10.0) -> Scene:
    return Scene(Region(norm, epsilon, -limit, limit), torch.Generator().manual_seed(0), targeted)


def lanes(shape: tuple[int, ...], steps: list[int]) -> Lanes:
    count = len(steps)
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(2))
    zeros, clean = torch.zeros(count, dtype=torch.long), torch.zeros(count, 3)
    return Lanes(torch.arange(count), zeros, torch.tensor(steps), x, zeros, zeros, clean, x, {})


def looked(given: Lanes, loss: float) -> Seen:
    count = len(given)
    return Seen(given.clean, torch.zeros(count, dtype=torch.bool), torch.full((count,), loss), torch.zeros(0))


@pytest.mark.parametrize("queries", [1, 2, 50])
@pytest.mark.parametrize("norm", tuple(Norm))
def test_it_asks_exactly_so_often_and_never_for_a_gradient(norm: Norm, queries: int) -> None:
    model = linear()
    victim, given = Victim(model), case(model, 6)
    found = search(Square(queries=queries, restarts=2), victim, given, scene(norm, 1e-4), batch=4)
    assert found.looks.tolist() == [2 * queries] * 6
    assert (victim.forwards, victim.backwards) == (12 * queries, 0)


# how far beyond the exact distance some hundred random squares suffice
@pytest.mark.parametrize(("norm", "beyond"), [(Norm.LINF, 1.05), (Norm.L2, 1.6), (Norm.L1, 2.0)])
@pytest.mark.parametrize("wanted", [None, 2])
def test_a_linear_model_falls_beyond_the_exact_distance_and_not_below(
    norm: Norm, beyond: float, wanted: int | None
) -> None:
    model = linear()
    given = case(model, 12, wanted=wanted)
    exact = nearest(model, given, ORDER[norm])
    for epsilon in (0.999 * exact.min(), exact.median(), beyond * exact.max()):
        place = scene(norm, float(epsilon), targeted=wanted is not None)
        found = search(Square(queries=600), Victim(model), given, place, batch=12)
        fell = found.distance.isfinite()
        assert not fell[exact > epsilon].any()
        assert fell[beyond * exact < epsilon].all()


@pytest.mark.parametrize("norm", tuple(Norm))
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 9), (7,), (1,), (2, 5), (2, 3, 4, 5)])
def test_every_point_lies_in_the_region_whatever_the_shape_of_an_input(norm: Norm, shape: tuple[int, ...]) -> None:
    attack, given = Square(queries=40), lanes(shape, [0] * 4)
    place = scene(norm, 0.4, limit=1.0)
    attack.begin(given, place)
    for turn in range(1, 40):
        assert place.region.holds(given.origin, given.x).all()
        if shape != (1,):  # there two hills may cancel
            assert (place.region.distance(given.origin, given.x) > 0.01).all()
        given.step = given.step + 1
        attack.advance(given, looked(given, turn % 5), place)


def test_the_first_point_of_linf_is_stripes_at_the_region_s_edge() -> None:
    given = lanes((3, 6, 5), [0] * 40)
    Square().begin(given, scene(Norm.LINF, 0.5))
    delta = given.x - given.origin
    assert torch.allclose(delta.abs(), torch.tensor(0.5), atol=1e-6)
    assert torch.equal(delta.sign(), delta.sign()[:, :, :1].expand_as(delta))
    assert delta.mean().abs() < 0.05


@pytest.mark.parametrize(("step", "side"), [(1, 18), (12, 13), (52, 9), (202, 6), (502, 4), (1002, 3), (8002, 1)])
def test_a_linf_step_recolours_one_square_of_the_published_size(step: int, side: int) -> None:
    attack, given = Square(queries=10_000), lanes((2, 20, 20), [0] * 30)
    place = scene(Norm.LINF, 0.5)
    attack.begin(given, place)
    start = given.x
    given.step = torch.full((30,), step)
    attack.advance(given, looked(given, 0.0), place)
    for moved in (given.x != start).flatten(0, 1):  # each channel: recoloured in part, where the colour was another
        rows, columns = moved.any(1).nonzero(), moved.any(0).nonzero()
        if len(rows):
            assert int(rows.max() - rows.min()) + 1 == side
            assert int(columns.max() - columns.min()) + 1 <= side
    assert torch.allclose((given.x - given.origin).abs(), torch.tensor(0.5), atol=1e-6)


def test_the_schedule_is_scaled_to_the_queries_unless_it_is_not_to_be() -> None:
    changes = torch.tensor([0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 6001, 8001])
    wanted = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9]
    assert Square(queries=10_000, rescaled=True)._level(changes).tolist() == wanted
    assert Square(queries=5000)._level(changes).tolist() == wanted
    assert Square(queries=1000, rescaled=True)._level(torch.tensor([1, 2, 50, 51, 900])).tolist() == [0, 1, 3, 4, 9]


def test_what_is_no_better_is_forgotten() -> None:
    attack, given = Square(queries=1000), lanes((1, 9, 9), [0, 0])
    place = scene(Norm.LINF, 0.5)
    attack.begin(given, place)
    looked_at = []
    for loss in ([1.0, 1.0], [0.5, 2.0], [0.9, 1.5]):
        looked_at.append(given.x)
        given.step = given.step + 1
        seen = Seen(given.clean, torch.zeros(2, dtype=torch.bool), torch.tensor(loss), torch.zeros(0))
        attack.advance(given, seen, place)
    assert torch.equal(given.own["best"], torch.stack((looked_at[0][0], looked_at[1][1])))
    assert given.own["best_loss"].tolist() == [1.0, 2.0]


def test_an_l2_step_gives_one_window_what_it_takes_elsewhere() -> None:
    attack, given = Square(queries=10_000), lanes((2, 20, 20), [600] * 20)
    place = scene(Norm.L2, 3.0)
    attack.begin(given, place)
    before = (given.x - given.origin).double()
    attack.advance(given, looked(given, 0.0), place)
    after = (given.x - given.origin).double()
    assert torch.allclose(after.flatten(1).norm(dim=1), torch.tensor(3.0, dtype=torch.float64), atol=1e-5)
    for old, new in zip(before, after, strict=True):
        ratio = new / old
        untouched = (ratio - ratio.median()).abs() < 1e-3
        touched = ~untouched.all(0)
        assert touched.sum() <= 2 * 5 * 5  # two windows with a side of 5
        emptied = (new.abs() < 1e-7).all(0) & (old.abs() > 1e-5).all(0)
        assert emptied.sum() <= 25
        gained = touched & ~emptied
        rows, columns = gained.any(1).nonzero(), gained.any(0).nonzero()
        assert int(rows.max() - rows.min()) + 1 <= 5
        assert int(columns.max() - columns.min()) + 1 <= 5


def test_a_record_of_numbers_is_searched_too() -> None:
    weight = torch.linspace(-1, 1, 12)
    model = xai.load(lambda x: torch.stack((x @ weight, -(x @ weight)), 1), shape=(12,), output="logits", range=(0, 1))
    x = torch.rand(6, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clean = Victim(model).scores(x)
    given = Case(x, clean.argmax(1), None, clean)
    exact = (x @ weight).abs() / weight.abs().sum()
    place = Scene(Region(Norm.LINF, 1.1 * float(exact.max()), 0.0, 1.0), torch.Generator().manual_seed(0), False)
    assert search(Square(queries=500), Victim(model), given, place, batch=6).distance.isfinite().sum() >= 5
