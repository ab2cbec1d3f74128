"""Every formula against a plain second version, in the paper's words, or against a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import chi2, gaussian_kde, kstest

from tests.robustness.ood.subjects import CLASSES, DIMENSIONS, blobs, fitted, generator, head, seen
from xai.errors import AnalysisError
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.ood.detectors.kde import smoothed


def made(name: str, **parameters: object):
    return detectors.get(name)(**parameters)


def scored(name: str, features: torch.Tensor, train: torch.Tensor, labels: torch.Tensor, **parameters: object):
    return fitted(made(name, **parameters), seen(train, labels)).score(seen(features)).numpy()


TRAIN, LABELS = blobs(400)
NEW = torch.cat((blobs(30, seed=1)[0], 4 * torch.rand(30, DIMENSIONS, generator=generator(2))))
LOGITS = seen(NEW).logits.numpy()


def test_msp_is_one_minus_the_highest_probability_and_does_not_vanish() -> None:
    assert scored("msp", NEW, TRAIN, LABELS) == pytest.approx(1 - softmax(LOGITS, 1).max(1), abs=1e-12)
    far = seen(torch.eye(DIMENSIONS)[:1] * 0)
    object.__setattr__(far, "logits", torch.tensor([[100.0, 0.0, 0.0, 0.0]], dtype=torch.float64))
    assert made("msp").score(far, {}).item() == pytest.approx(3 * math.exp(-100), rel=1e-9)


def test_maxlogit_and_energy_are_the_papers() -> None:
    assert scored("maxlogit", NEW, TRAIN, LABELS) == pytest.approx(-LOGITS.max(1))
    expected = -2.5 * np.log(np.exp(LOGITS / 2.5).sum(1))
    assert scored("energy", NEW, TRAIN, LABELS, temperature=2.5) == pytest.approx(expected)


def test_entropy_of_equal_logits_is_the_logarithm_of_the_classes() -> None:
    p = softmax(LOGITS, 1)
    assert scored("entropy", NEW, TRAIN, LABELS) == pytest.approx(-(p * np.log(p)).sum(1), abs=1e-12)
    even = seen(NEW[:1])
    object.__setattr__(even, "logits", torch.zeros(1, CLASSES, dtype=torch.float64))
    assert made("entropy").score(even, {}).item() == pytest.approx(math.log(CLASSES))


def test_gen_sums_over_the_highest_probabilities() -> None:
    p = -np.sort(-softmax(LOGITS, 1), 1)[:, :2]
    assert scored("gen", NEW, TRAIN, LABELS, gamma=0.3, top=2) == pytest.approx((p**0.3 * (1 - p) ** 0.3).sum(1))


def test_odin_steps_toward_the_answer_by_finite_differences() -> None:
    of, step, temperature = head(), 0.01, 10.0
    expected = []
    for row in NEW[:8].double():
        answer = int(of.logits(row[None]).argmax())

        def surety(x: torch.Tensor, answer: int = answer) -> float:
            return float((of.logits(x[None]) / temperature).log_softmax(1)[0, answer])

        slopes = [surety(row + 1e-5 * e) - surety(row - 1e-5 * e) for e in torch.eye(DIMENSIONS, dtype=torch.float64)]
        moved = row + step * torch.tensor(slopes).sign()
        expected.append(-float((of.logits(moved[None]) / temperature).softmax(1).max()))
    found = made("odin", epsilon=step, temperature=temperature).score(seen(NEW[:8].double()), {})
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_kl_matching_is_the_least_divergence_from_the_usual_answers() -> None:
    p, train = softmax(LOGITS, 1), softmax(seen(TRAIN).logits.numpy(), 1)
    usual = [train[train.argmax(1) == k].mean(0) for k in sorted(set(train.argmax(1)))]
    expected = np.min([(p * np.log(p / q)).sum(1) for q in usual], axis=0)
    assert scored("kl-matching", NEW, TRAIN, LABELS) == pytest.approx(expected)


def test_mahalanobis_is_the_distance_in_the_pooled_covariance() -> None:
    x, y, new = TRAIN.double().numpy(), LABELS.numpy(), NEW.double().numpy()
    centres = [x[y == k].mean(0) for k in range(CLASSES)]
    rest = x - np.array(centres)[y]
    inverse = np.linalg.inv(rest.T @ rest / len(x))
    expected = np.min([np.einsum("ni,ij,nj->n", new - c, inverse, new - c) for c in centres], axis=0)
    assert scored("mahalanobis", NEW, TRAIN, LABELS, shrinkage=0.0) == pytest.approx(expected)
    away = x - x.mean(0)
    together = np.linalg.inv(away.T @ away / len(x))
    less = np.einsum("ni,ij,nj->n", new - x.mean(0), together, new - x.mean(0))
    found = scored("relative-mahalanobis", NEW, TRAIN, LABELS, shrinkage=0.0)
    assert found == pytest.approx(expected - less)


def test_mahalanobis_of_a_gaussian_is_chi_squared() -> None:
    """The closed form: with one class the squared distance of a Gaussian has its dimensions as degrees of freedom."""
    mix = torch.randn(6, 6, generator=generator(3))
    x = torch.randn(20_000, 6, generator=generator(4)) @ mix + 5
    new = torch.randn(2000, 6, generator=generator(5)) @ mix + 5
    found = scored("mahalanobis", new, x, torch.zeros(len(x), dtype=torch.int64), shrinkage=0.0)
    assert kstest(found, chi2(6).cdf).pvalue > 0.01


def test_shrinkage_is_the_oracle_approximation_of_chen_and_others() -> None:
    from sklearn.covariance import OAS

    from xai.robustness.ood.gaussians import oas, shrink

    x = torch.randn(40, 30, generator=generator(1), dtype=torch.float64) * torch.linspace(0.1, 2, 30)
    covariance = torch.from_numpy(np.cov(x.numpy().T, bias=True))
    theirs = OAS().fit(x.numpy())
    assert oas(covariance, 40) == pytest.approx(theirs.shrinkage_, rel=0.01), "theirs leaves out what is small"
    assert shrink(covariance, theirs.shrinkage_).numpy() == pytest.approx(theirs.covariance_)
    assert oas(torch.eye(3, dtype=torch.float64), 10) == 1.0


def test_knn_is_the_distance_of_directions_from_the_kth_nearest() -> None:
    def direction(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    bank, new = direction(TRAIN.double().numpy()), direction(NEW.double().numpy())
    for k in (1, 2, 3, 17, 400):
        expected = np.sort(np.linalg.norm(new[:, None] - bank, axis=2), axis=1)[:, k - 1]
        assert scored("knn", NEW, TRAIN, LABELS, k=k) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(AnalysisError, match="expected at least k = 401 images, received 400"):
        scored("knn", NEW, TRAIN, LABELS, k=401)


def test_vim_is_the_scaled_rest_less_the_energy() -> None:
    of, x, new = head(), TRAIN.double().numpy(), NEW.double().numpy()
    weight, bias = of.weight.numpy(), of.bias.numpy()
    origin = -np.linalg.pinv(weight) @ bias
    values, vectors = np.linalg.eigh((x - origin).T @ (x - origin) / len(x))
    rest = vectors[:, np.argsort(values)[: DIMENSIONS - 5]]
    scale = (x @ weight.T + bias).max(1).mean() / np.linalg.norm((x - origin) @ rest, axis=1).mean()
    expected = scale * np.linalg.norm((new - origin) @ rest, axis=1) - np.log(np.exp(LOGITS).sum(1))
    assert scored("vim", NEW, TRAIN, LABELS, dimensions=5) == pytest.approx(expected)


def test_fdbd_is_the_mean_distance_from_the_boundaries() -> None:
    of, new, mean = head(), NEW.double().numpy(), TRAIN.double().numpy().mean(0)
    expected = []
    for row, logits in zip(new, LOGITS, strict=True):
        top = logits.argmax()
        others = [c for c in range(CLASSES) if c != top]
        gaps = [(logits[top] - logits[c]) / np.linalg.norm(of.weight[top] - of.weight[c]) for c in others]
        expected.append(-np.mean(gaps) / np.linalg.norm(row - mean))
    assert scored("fdbd", NEW, TRAIN, LABELS) == pytest.approx(np.array(expected))


def test_react_dice_ash_and_scale_shape_before_the_energy() -> None:
    of, x, new = head(), TRAIN.double().numpy(), NEW.double().numpy()
    weight, bias = of.weight.numpy(), of.bias.numpy()

    def energy(logits: np.ndarray) -> np.ndarray:
        return -np.log(np.exp(logits).sum(1))

    expected = energy(np.minimum(new, np.quantile(x, 0.8)) @ weight.T + bias)
    assert scored("react", NEW, TRAIN, LABELS, share=0.8) == pytest.approx(expected)

    contributed = x.mean(0) * weight
    expected = energy(new @ (weight * (contributed > np.quantile(contributed, 0.6))).T + bias)
    assert scored("dice", NEW, TRAIN, LABELS, share=0.6) == pytest.approx(expected)

    kept = 4  # of 12, a third
    high = np.where(new >= np.sort(new, 1)[:, -kept][:, None], new, 0)
    ratio = new.sum(1, keepdims=True) / high.sum(1, keepdims=True)
    shaped = {"p": high, "s": high * np.exp(ratio), "b": (high > 0) * new.sum(1, keepdims=True) / kept}
    for variant, value in shaped.items():
        found = scored("ash", NEW, TRAIN, LABELS, share=2 / 3, variant=variant)
        assert found == pytest.approx(energy(value @ weight.T + bias))
    found = scored("scale", NEW, TRAIN, LABELS, share=2 / 3)
    assert found == pytest.approx(energy(new * np.exp(ratio) @ weight.T + bias))


def test_shaping_of_features_without_a_positive_one_stays_finite() -> None:
    for features in (torch.zeros(3, DIMENSIONS), -torch.rand(3, DIMENSIONS), torch.eye(DIMENSIONS)[:3] - 1e-12):
        for name in ("ash", "scale", "react", "dice"):
            assert np.isfinite(scored(name, features, TRAIN, LABELS)).all()


def principal(x: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return x.mean(0), vectors[:, values > cutoff * values.sum()]


def test_hbos_adds_up_the_logarithms_of_histograms_along_principal_components() -> None:
    bins, cutoff = 7, 0.02
    x, new = TRAIN.double().numpy(), NEW.double().numpy()
    mean, axes = principal(x, cutoff)
    assert 2 < axes.shape[1] < DIMENSIONS, "the cutoff leaves some out"
    expected = np.zeros(len(new))
    for axis in axes.T:
        values, asked = (x - mean) @ axis, (new - mean) @ axis
        centres = np.linspace(values.min(), values.max(), bins)
        width = centres[1] - centres[0]
        centres = np.r_[centres[0] - width, centres, centres[-1] + width]
        heights = np.maximum(0, 1 - np.abs(values[:, None] - centres) / width).sum(0) + 0.5
        expected -= np.interp(asked, centres, np.log(heights / heights.max()))
    found = scored("hbos", NEW, TRAIN, LABELS, bins=bins, variance_cutoff=cutoff)
    assert found == pytest.approx(expected)


def test_kde_agrees_with_scipy_where_data_are_and_goes_on_beyond() -> None:
    x = torch.randn(500, 1, generator=generator(8))
    width = 0.9 * min(x.std().item(), np.subtract(*np.quantile(x.numpy(), [0.75, 0.25])) / 1.34) * 500**-0.2
    kernel = gaussian_kde(x.numpy().T, bw_method=width / x.std().item())
    new = torch.linspace(-2.5, 2.5, 50)[:, None]
    detector = fitted(made("kde"), seen(x, layers={"a": x[:, :, None]}, of=head(dimensions=1)))
    far = torch.tensor([[5.0], [6.0], [7.0]])
    found = detector.score(seen(torch.cat((new, far)), layers={"a": torch.cat((new, far))[:, :, None]})).numpy()
    assert found[:50] == pytest.approx(-kernel.logpdf(new.numpy().T), abs=0.02)
    assert found[51:53] - found[50:52] == pytest.approx([found[51] - found[50]] * 2)
    assert found[50] > found[:50].max()


def test_kde_between_two_heaps_is_that_of_the_nearer_however_far_they_are() -> None:
    shares = torch.zeros(256, dtype=torch.float64)
    shares[3], shares[250] = 0.25, 0.75
    away = (torch.arange(256)[:, None] - torch.tensor([3, 250])).double()
    for step in (0.01, 0.2, 1.0, 20.0):
        found = smoothed(shares, torch.tensor(step, dtype=torch.float64)).numpy()
        assert found == pytest.approx(logsumexp(-0.5 * (step * away.numpy()) ** 2, 1, b=[0.25, 0.75]), rel=1e-12)


def test_gram_adds_up_what_leaves_the_limits_of_the_answered_class() -> None:
    maps = {
        "a": torch.rand(60, DIMENSIONS, 9, generator=generator(6)),
        "b": torch.rand(60, 5, 4, generator=generator(7)),
    }
    new = {name: 1.3 * torch.rand(10, *value.shape[1:], generator=generator(9)) for name, value in maps.items()}
    features, labels = blobs(60)
    state = fitted(made("gram", powers=2, places=0), seen(features, labels, maps)).state
    found = made("gram", powers=2, places=0).score(seen(NEW[:10], layers=new), state).numpy()

    def sums(value: torch.Tensor, power: int) -> np.ndarray:
        raised = value.double().numpy() ** power
        return (raised @ raised.transpose(0, 2, 1)).sum(2) ** (1 / power)

    expected, answers = np.zeros(10), LOGITS[:10].argmax(1)
    for name in maps:
        layer = np.zeros(10)
        for power in (1, 2):
            low, high = (state[f"{name}/{end}"][:, power - 1].numpy()[answers] for end in ("low", "high"))
            g = sums(new[name], power)
            layer += (np.maximum(low - g, 0) / low + np.maximum(g - high, 0) / high).sum(1)
            all_of = sums(maps[name], power)
            for k in range(CLASSES):
                inside = all_of[labels.numpy() == k]
                assert (inside.min(0) <= state[f"{name}/low"][k, power - 1].numpy() + 1e-4).all()
                assert (state[f"{name}/low"][k, power - 1].numpy() <= np.median(inside, 0)).all()
        expected += layer / state[f"{name}/unit"].item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_gram_of_some_places_meets_every_row_and_column() -> None:
    from xai.robustness.ood.detectors.gram import stride

    for side in (7, 8, 14, 28, 32, 56, 112):
        step = stride(side * side, 64)
        chosen = np.arange(0, side * side, step)
        assert len(chosen) <= 64
        least = min(side, len(chosen)) * 0.9
        assert len(set(chosen % side)) >= least
        assert len(set(chosen // side)) >= least
