"""What every attack that looks for the smallest change must keep."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.attacks.minimal import ORDER, attacked, curved, straight
from tests.robustness.victims import case, nearest
from xai.robustness.attacks.base import Attack, attacks
from xai.robustness.norms import Norm

MINIMAL = [(name, norm) for name, leaf in attacks.all().items() if leaf.minimal for norm in sorted(leaf.norms)]
BOTH = [
    (name, norm, wanted) for name, norm in MINIMAL for wanted in (None, 2) if wanted is None or attacks.get(name).aimed
]


def short(name: str) -> Attack:
    """Return an attack of eight steps."""
    return attacks.get(name)(steps=8)


@pytest.mark.parametrize(("name", "norm", "wanted"), BOTH)
def test_no_change_is_smaller_than_the_smallest(name: str, norm: Norm, wanted: int | None) -> None:
    given = case(straight(), wanted=wanted)
    found = attacked(short(name), straight(), given, norm)
    assert found.distance.isfinite().any()
    assert (found.distance >= nearest(straight(), given, ORDER[norm]) * (1 - 2e-6)).all()


@pytest.mark.parametrize(("name", "norm", "wanted"), BOTH)
def test_what_is_kept_fools_and_lies_in_the_range(name: str, norm: Norm, wanted: int | None) -> None:
    given = case(curved(), 20, wanted=wanted)
    found = attacked(short(name), curved(), given, norm)
    fell = found.distance.isfinite()
    assert fell.double().mean() > 0.5
    assert (given.reached(curved()(found.points))[fell]).all()
    assert ((found.points >= 0) & (found.points <= 1)).all()


@pytest.mark.parametrize(("name", "norm"), MINIMAL)
def test_lanes_that_come_and_go_do_not_touch_each_other(name: str, norm: Norm) -> None:
    given = case(curved(), 8)
    whole, apart = (attacked(short(name), curved(), given, norm, batch=batch) for batch in (100, 3))
    again = attacked(short(name), curved(), given, norm)
    assert torch.equal(whole.points, again.points)
    assert torch.equal(whole.looks, apart.looks)
    assert torch.allclose(
        whole.distance, apart.distance, rtol=1e-2
    )  # sums round differently; a mixed-up lane differs by more
