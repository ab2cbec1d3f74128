"""Masks in pairs and by rounds, and how sure a ranking is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xai.explainers.lime import cosine_weights, fit
from xai.masking.sampling import Samples, fair, rank_interval, sampled


def drawing(seed: int, parts: int = 6):
    generator = torch.Generator().manual_seed(seed)
    return lambda count, first: fair(count, parts, generator, paired=True, whole=first)


def test_a_pair_is_a_mask_and_its_opposite() -> None:
    masks = fair(9, 5, torch.Generator().manual_seed(0), paired=True, whole=True)
    assert masks.shape == (9, 5)
    assert masks[0].all()
    assert torch.equal(masks[0:8:2], ~masks[1:8:2])


def test_rounds_stop_when_they_are_sure_and_pairs_stay_together() -> None:
    told = []
    looks = []

    def outputs(masks, tell):
        tell(0)
        return masks.float()

    def is_sure(so_far: Samples) -> bool:
        looks.append(len(so_far.masks))
        return len(so_far.masks) >= 300

    found = sampled([drawing(0), drawing(1)], outputs, 1000, is_sure, lambda done, most: told.append((done, most)))
    assert looks == [100, 200, 300]
    assert len(found.masks) == 300
    assert told == [(0, 1000), (100, 1000), (200, 1000), (1000, 1000)]
    assert torch.equal(found.masks[0::2], ~found.masks[1::2])
    assert all((rows.reshape(-1, 2)[:, 0] + 1 == rows.reshape(-1, 2)[:, 1]).all() for rows in found.groups)
    assert np.bincount(found.sources).tolist() == [150, 150]
    once = sampled([drawing(0), drawing(1)], outputs, 998, None, lambda done, most: None)
    assert np.bincount(once.sources).tolist() == [498, 500]
    assert once.masks[0].all()


def test_the_interval_is_nought_for_what_is_certain_and_wide_for_chance() -> None:
    rng = np.random.default_rng(1)
    certain = np.tile(np.arange(10.0), (20, 1)) + rng.normal(0, 1e-3, (20, 10))
    chance = rng.normal(size=(20, 10))
    assert rank_interval(lambda counts: counts @ certain, 20) == 0
    assert rank_interval(lambda counts: counts @ chance, 20) > 0.3
    assert rank_interval(lambda counts: counts @ certain, 7) is None
    assert rank_interval(lambda counts: counts @ certain[:, :1], 20) is None


def test_the_interval_covers_the_ranks_that_other_samples_give() -> None:
    """What is called a 95 % interval holds the ranks of the true means about that often."""
    rng = np.random.default_rng(0)
    truth = np.arange(8) * 0.15
    held = []
    for _ in range(100):
        samples = truth + rng.normal(size=(400, 8))
        groups = samples.reshape(20, 20, 8).mean(1)
        drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=200)
        ranks = np.argsort(np.argsort(drawn @ groups, axis=1), axis=1)
        low, high = np.quantile(ranks, [0.025, 0.975], axis=0)
        held.append(((low <= np.arange(8)) & (np.arange(8) <= high)).mean())
    assert np.mean(held) > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_third_of_the_samples_is_as_good_where_pairs_are_drawn(seed: int) -> None:
    """Of a model whose parts act together in twos, as networks' mostly do near a picture."""
    generator = torch.Generator().manual_seed(seed)
    parts = 30
    alone, together = (
        torch.randn(parts, generator=generator).numpy(),
        torch.randn((parts, parts), generator=generator).numpy(),
    )

    def outputs(masks: np.ndarray) -> np.ndarray:
        centred = masks - 0.5
        return masks @ alone + 0.15 * np.einsum("ni,ij,nj->n", centred, together, centred)

    def coefficients(count: int, *, paired: bool) -> np.ndarray:
        masks = fair(count, parts, generator, paired=paired, whole=True).numpy()
        return fit(masks, outputs(masks.astype(float)), cosine_weights(masks, 0.25), alpha=1e-3).coefficients

    truth = coefficients(60_000, paired=False)
    errors = {}
    for paired, count in ((True, 334), (False, 1000)):
        found = [coefficients(count, paired=paired) for _ in range(20)]
        errors[paired] = np.mean([np.linalg.norm(one - truth) for one in found])
    assert errors[True] < errors[False]
