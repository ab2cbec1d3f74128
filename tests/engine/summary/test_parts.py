"""The parts of a summary against closed forms: groups, places, and what hangs on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xai.api import load
from xai.data.samples import Sample
from xai.engine.summary.groups import NOWHERE, Groups, spread, try_places
from xai.engine.summary.leaning import Exchange, Tried, corrected
from xai.engine.summary.places import LARGEST, Place, elsewhere, place_of
from xai.engine.summary.small import packed, positive, shrunk, small_shape, unpacked
from xai.engine.summary.spectral import LEAST, grouped
from xai.models.model import Model
from xai.reports.paired import holm, mcnemar
from xai.runtime import Runtime

MARK = Place(1, 1, 4, 4)  # at the border of 16 x 16
CENTRE = Place(6, 6, 10, 10)


class Looking(nn.Module):
    """Says "yes" where one place is brighter than a half on average."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.place
        mean = x[:, :, p.top : p.bottom, p.left : p.right].mean((1, 2, 3))
        return torch.stack([0 * mean, 10 * (mean - 0.5)], 1)


def looking(place: Place) -> Model:
    return load(Looking(place), shape=(3, 16, 16), classes=("no", "yes"))


def samples(place: Place, *, bright: bool, same: bool, masked: Place | None = None, n: int = 20) -> list[Sample]:
    """Return noise whose place is bright or dark, the same in all of them or another one each time."""
    rng = np.random.default_rng(int(bright))
    found = []
    for number in range(n):
        x = rng.uniform(0, 1, (3, 16, 16)).astype(np.float32)
        level = 0.9 if bright else 0.2
        place.of(x)[...] = level if same else level + rng.uniform(-0.1, 0.1, (3, *place.size))
        mask = None
        if masked is not None:
            mask = np.zeros((16, 16), dtype=bool)
            masked.of(mask)[...] = True
        found.append(Sample(f"{bright}{number}", "", "", torch.from_numpy(x), (), mask))
    return found


def tried(place: Place, *, same: bool = True, masked: Place | None = None, at: Place | None = None) -> Tried:
    """Try a place with a model that looks at it, or at another one."""
    group = samples(place, bright=True, same=same, masked=masked)
    others = samples(place, bright=False, same=False)
    (found,) = corrected([Exchange(looking(at or place), Runtime()).tried(place, 1, group, others, 0)])
    assert found is not None
    return found


def test_what_is_counted_has_a_closed_form() -> None:
    found = tried(MARK)
    assert (found.images, found.changed, found.changed_elsewhere) == (20, 20, 0)
    assert (found.others, found.turned, found.turned_elsewhere) == (20, 20, 0)
    assert [found.p_changed, found.p_turned] == holm([mcnemar(20, 0), mcnemar(20, 0)])
    assert found.area == 9 / 256
    assert (found.decides, found.border, found.suspected) == (True, True, True)
    assert found.alike == 0.0


def test_a_centred_object_decides_and_is_not_accused() -> None:
    found = tried(CENTRE, same=False)
    assert (found.decides, found.border, found.suspected) == (True, False, False)
    assert "it may well be the object" in found.sentence()
    assert "uspicion" not in found.sentence()


def test_an_object_at_the_border_that_looks_different_each_time_is_not_accused() -> None:
    found = tried(MARK, same=False)
    assert (found.decides, found.border, found.suspected) == (True, True, False)


def test_masks_tell_the_object_from_what_lies_beside_it() -> None:
    beside, on = tried(CENTRE, masked=MARK), tried(MARK, masked=MARK)
    assert (beside.beside, beside.suspected) == (1.0, True)
    assert "lies beside the object" in beside.sentence()
    assert (on.beside, on.suspected) == (0.0, False)


def test_a_place_that_does_nothing_is_not_accused() -> None:
    found = tried(MARK, at=CENTRE)
    assert not found.decides
    assert "that it alone decides is not shown" in found.sentence()


def test_the_control_is_no_weaker_where_every_place_does_the_same() -> None:
    """A model that looks at the whole: any place of that size changes as much, so nothing is claimed."""
    whole = Place(0, 0, 16, 16)
    group = samples(whole, bright=True, same=False)
    others = samples(whole, bright=False, same=False)
    found = Exchange(looking(whole), Runtime()).tried(MARK, 1, group, others, 0)
    assert found is not None
    assert not found.decides


def test_too_few_images_are_not_tried() -> None:
    few = samples(MARK, bright=True, same=True, n=7)
    assert Exchange(looking(MARK), Runtime()).tried(MARK, 1, few, samples(MARK, bright=False, same=True), 0) is None


def test_p_values_are_corrected_for_all_places() -> None:
    one = Exchange(looking(MARK), Runtime()).tried(
        MARK, 1, samples(MARK, bright=True, same=True), samples(MARK, bright=False, same=True), 0
    )
    assert one is not None
    several = corrected([one, None, one])
    assert several[1] is None
    assert several[0] is not None
    assert several[0].p_changed == pytest.approx(4 * one.p_changed)


def test_the_place_of_a_mean_map_is_the_rectangle_around_its_peak() -> None:
    mean = np.zeros((16, 16))
    mean[12:15, 1:3] = 1
    mean[2, 2] = 0.4
    assert place_of(mean / mean.sum(), 64, 64) == Place(48, 4, 60, 12)
    assert place_of(mean / mean.sum(), 16, 16) == Place(12, 1, 15, 3)
    assert place_of(np.zeros((4, 4)), 8, 8) is None


def test_a_place_holds_all_of_the_pixels_that_its_part_of_the_map_stands_for() -> None:
    mean = np.zeros((10, 19))
    mean[3, 4] = mean[9, 18] = 1
    mean[9, 18] += 0.1
    assert place_of(mean / mean.sum(), 35, 30) == Place(31, 28, 35, 30)
    mean[3, 4] += 0.2
    assert place_of(mean / mean.sum(), 35, 30) == Place(10, 6, 14, 8)


def test_a_large_place_and_a_weak_one_are_none() -> None:
    large = np.zeros((10, 10))
    large[:4, :4] = 1
    assert place_of(large / large.sum(), 100, 100) is None, f"it takes 16 %, more than {LARGEST:.0%}"
    weak = np.full((32, 32), 0.4)
    weak[5, 5] = 1
    assert place_of(weak / weak.sum(), 32, 32) is None


def test_a_place_elsewhere_has_its_size_and_nothing_in_common() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = elsewhere(MARK, 16, 16, rng)
        assert other.size == MARK.size
        assert not other.meets(MARK)
        assert 0 <= other.top <= 13
        assert 0 <= other.left <= 13


def test_places_are_compared_by_what_they_have_in_common() -> None:
    assert MARK.overlap(MARK) == 1
    assert MARK.overlap(CENTRE) == 0
    assert MARK.overlap(MARK.moved(1, 2)) == pytest.approx(6 / 12)


def test_maps_that_are_alike_come_together_as_many_groups_as_there_are() -> None:
    rng = np.random.default_rng(0)
    peaks, truth = [(3, 3), (12, 4), (8, 12)], np.repeat([0, 1, 2], [30, 20, 10])
    maps = 0.05 * rng.uniform(size=(60, 16, 16))
    for one, kind in zip(maps, truth, strict=True):
        row, column = peaks[kind]
        one[row - 2 : row + 2, column - 2 : column + 2] += rng.uniform(0.5, 1.5, (4, 4))
    order = rng.permutation(60)
    found = grouped(positive(maps[order]))
    assert found.count == 3
    assert np.array_equal(found.groups, truth[order]), "numbered by their size"
    assert np.all(np.diff(found.eigenvalues) >= -1e-12)


def test_maps_that_are_all_the_same_or_few_are_one_group() -> None:
    assert grouped(positive(np.ones((20, 4, 4)))).groups.max() >= 0
    assert grouped(positive(np.random.default_rng(0).uniform(size=(LEAST - 1, 4, 4)))).count == 1


def test_small_maps_are_means_over_areas_and_survive_packing() -> None:
    map_ = np.arange(64 * 128, dtype=np.float32).reshape(64, 128)
    assert small_shape(64, 128) == (16, 32)
    small = shrunk(map_)
    assert small == pytest.approx(map_.reshape(16, 4, 32, 4).mean((1, 3)))
    assert small_shape(8, 5) == (8, 5)
    assert np.array_equal(shrunk(map_[:8, :5]), map_[:8, :5])
    assert np.array_equal(unpacked(packed(small[None]), (16, 32))[0], small)


def test_what_speaks_for_the_answer_sums_to_one_or_is_nothing() -> None:
    maps = np.stack([np.array([[1.0, -5.0], [3.0, 0.0]]), np.array([[-1.0, -5.0], [-3.0, 0.0]])])
    assert positive(maps).tolist() == [[[0.25, 0.0], [0.75, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]


def test_examples_are_taken_evenly() -> None:
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(2), 3) == [0, 1]


def test_that_maps_point_nowhere_is_said() -> None:
    exchange, read = Exchange(None, None), None  # type: ignore[arg-type]  # neither is asked
    assert try_places(Groups((), ()), [], exchange, read).notes == (NOWHERE,)  # type: ignore[arg-type]  # the same
