"""Masks in pairs and by rounds, and how sure a ranking is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xai.explainers.lime import cosine_weights, fit, ranking_interval
from xai.masking.sampling import GROUPS, WIDER, Balanced, Fair, Samples, gathered, rank_interval, sampled, unsure


def drawing(seed: int, parts: int = 6):
    draws = Balanced(parts, torch.Generator().manual_seed(seed))
    return lambda count, first: draws(count)


def test_a_pair_is_a_mask_and_its_opposite() -> None:
    draws = Balanced(5, torch.Generator().manual_seed(0))
    assert draws(0).shape == (0, 5)
    masks = draws(9)
    assert masks.shape == (9, 5)
    assert torch.equal(masks[0:8:2], ~masks[1:8:2])
    assert Balanced(1, torch.Generator())(4).sum() == 2


@pytest.mark.parametrize("parts", [2, 8, 9, 54, 300])
def test_of_a_whole_block_every_two_parts_are_uncorrelated(parts: int) -> None:
    draws = Balanced(parts, torch.Generator().manual_seed(parts))
    block = 2 * (1 << (parts - 1).bit_length())
    masks = 2.0 * torch.cat([draws(2), draws(block - 2)]) - 1
    assert torch.equal(masks.T @ masks, block * torch.eye(parts)), "however many are drawn at a time"
    assert len(masks.unique(dim=0)) == block
    second = 2.0 * draws(block) - 1
    assert torch.equal(second.T @ second, block * torch.eye(parts))
    assert not torch.equal(second, masks)


def test_a_balanced_mask_alone_is_any_mask_alike() -> None:
    draws = (Balanced(3, torch.Generator().manual_seed(seed))(1)[0] for seed in range(800))
    counts = torch.bincount(torch.stack([mask @ torch.tensor([4, 2, 1]) for mask in (one.long() for one in draws)]))
    assert len(counts) == 8
    assert counts.min() > 60
    assert counts.max() < 140


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


@pytest.mark.parametrize("kind", [Balanced, Fair])
def test_the_interval_of_coefficients_is_as_wide_as_they_spread(kind: type[Fair]) -> None:
    """Over other samples of a model whose parts act together in threes."""
    parts, count = 12, 300
    generator = torch.Generator().manual_seed(0)
    alone = torch.arange(parts).double().numpy()
    together = torch.randn((parts, parts, parts), generator=generator, dtype=torch.float64).numpy()
    said, ranks = [], []
    for _ in range(60):
        masks = kind(parts, generator)(count)
        centred = masks.double().numpy() - 0.5
        outputs = centred @ alone + np.einsum("ni,nj,nk,ijk->n", centred, centred, centred, together)
        weights = cosine_weights(masks.numpy(), 0.25)
        samples = Samples(masks, torch.from_numpy(outputs)[:, None], np.zeros(count))
        said.append(ranking_interval(samples, outputs, weights, 1e-3))
        ranks.append(np.argsort(np.argsort(fit(masks.numpy(), outputs, weights, 1e-3).coefficients)))
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0)
    assert np.mean(said) == pytest.approx((high - low).mean() / (parts - 1), rel=0.2)


def test_what_few_groups_miss_is_made_good() -> None:
    from scipy.stats import norm, t

    assert pytest.approx(t.ppf(0.975, GROUPS - 1) / norm.ppf(0.975) * (GROUPS / (GROUPS - 1)) ** 0.5, rel=1e-3) == WIDER


def test_too_few_samples_have_no_interval() -> None:
    masks = Balanced(12, torch.Generator().manual_seed(0))(24)
    samples = Samples(masks, torch.zeros(24, 1), np.zeros(24))
    assert ranking_interval(samples, np.arange(24.0), np.ones(24), 1.0) is None


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
        masks = (Balanced if paired else Fair)(parts, generator)(count).numpy()
        return fit(masks, outputs(masks.astype(float)), cosine_weights(masks, 0.25), alpha=1e-3).coefficients

    truth = coefficients(60_000, paired=False)
    errors = {}
    for paired, count in ((True, 334), (False, 1000)):
        found = [coefficients(count, paired=paired) for _ in range(20)]
        errors[paired] = np.mean([np.linalg.norm(one - truth) for one in found])
    assert errors[True] < errors[False]


def test_parts_are_gathered_in_one_tensor() -> None:
    parts = torch.arange(10.0).view(5, 2).split(2)
    assert torch.equal(gathered(iter(parts), 5), torch.arange(10.0).view(5, 2))
    assert gathered(iter(()), 0).numel() == 0


def test_a_ranking_that_is_less_sure_than_asked_is_said() -> None:
    assert unsure("rise", None, 0.9, 100) == ()
    assert unsure("rise", 0.2, 0.2, 100) == ()
    assert "its interval is 0.35 and not 0.2; raise rise.samples" in unsure("rise", 0.2, 0.35, 100)[0]
    assert "cannot be told" in unsure("lime", 0.2, None, 4)[0]
