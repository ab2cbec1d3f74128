"""What cannot be learnt is said: too few images, missing classes, NaN, constant features, none at all."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xai
from tests.robustness.ood.subjects import blobs, fitted, generator, seen
from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.models.model import Model
from xai.robustness.ood.detectors.base import Given, detectors
from xai.robustness.ood.features import Reader
from xai.robustness.ood.fitting import Batch, FittedSet, Pass, fit
from xai.robustness.ood.statistics import ClassSums, Reservoir, drawn


def everything() -> list:
    return [kind() for kind in detectors.all().values()]


class Line(nn.Module):
    """Sixteen features, the first of which are the pixels."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 3)
        self.first.weight.data, self.first.bias.data = scale * torch.eye(16), torch.ones(16)
        self.last.weight.data, self.last.bias.data = torch.randn(3, 16, generator=generator(1)), torch.zeros(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x.flatten(1)))


def model(scale: float = 1.0) -> Model:
    return xai.load(Line(scale).eval(), shape=(1, 4, 4), mean=0.0, std=1.0)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 4, 4, generator=generator(2))


def test_no_image_is_refused() -> None:
    for batches in ([], [Batch(pictures(0))]):
        with pytest.raises(UsageError, match="expected in-distribution images to fit detectors on, received none"):
            fit(Reader(model()), batches, everything())


def test_no_detector_is_refused() -> None:
    with pytest.raises(NotApplicableError, match="expected a detector that applies"):
        fit(Reader(model()), [Batch(pictures(9))], [])


def test_fewer_images_than_features_are_shrunk_and_said() -> None:
    found = fit(Reader(model()), [Batch(pictures(12))], [detectors.get("mahalanobis")()])
    assert any("12 images for 16 features" in note and "shrinkage" in note for note in found.notes)
    scores = found.scores(model(), pictures(5))["mahalanobis"]
    assert torch.isfinite(scores).all()
    with pytest.raises(AnalysisError, match="expected a covariance that can be inverted"):
        fit(Reader(model()), [Batch(pictures(12))], [detectors.get("mahalanobis")(shrinkage=0.0)])


def test_missing_classes_and_single_images_are_said() -> None:
    labels = torch.tensor([0] * 30 + [2])
    kinds = [detectors.get(name)() for name in ("mahalanobis", "gram")]
    found = fit(Reader(model()), [Batch(pictures(31), labels)], kinds)
    assert "1 of 3 classes have no image: they have no centre" in found.notes
    assert any("1 of 3 classes have one image each" in note for note in found.notes)
    assert found.fitted["mahalanobis"].state["classes"].tolist() == [0, 2]
    assert any("1 of 3 classes have no limits" in note for note in found.notes)
    limits = found.fitted["gram"].state
    assert limits["row"].tolist() == [0, 2, 1], "the class that is missing has the last row, the widest"
    (name,) = (key for key in limits if key.endswith("/high"))
    assert torch.equal(limits[name][2], limits[name][:2].amax(0))


def test_one_image_of_every_class_says_nothing_of_their_spread() -> None:
    batch = Batch(pictures(3), torch.arange(3))
    found = fit(Reader(model()), [batch], everything())
    for name in ("mahalanobis", "relative-mahalanobis"):
        assert "expected classes of two images or more, received 3 of one image each" in found.skipped[name]
    assert "msp" in found.fitted


def test_a_single_image_leaves_the_logits_detectors() -> None:
    found = fit(Reader(model()), [Batch(pictures(1))], everything())
    assert {"msp", "energy", "maxlogit"} <= set(found.fitted)
    assert "the same for all" in found.skipped["dice"]
    assert "k = 10 images, received 1" in found.skipped["knn"]


def test_constant_features_are_refused() -> None:
    flat = model(scale=0.0)
    found = fit(Reader(flat), [Batch(pictures(40))], everything())
    features = {name for name, kind in detectors.all().items() if kind().statistics} - {"kl-matching", "react", "knn"}
    assert features - {"gram"} == set(found.skipped)
    assert all("received the same" in reason for reason in found.skipped.values())
    with pytest.raises(AnalysisError, match="expected features that differ between images"):
        fit(Reader(flat), [Batch(pictures(40))], [detectors.get("mahalanobis")()])


def test_a_constant_layer_is_left_out_and_said() -> None:
    features, labels = blobs(50)
    both = {"moves": features[:, :, None], "stays": torch.ones(50, 3, 2)}
    shown = seen(features, labels, both)
    detector = detectors.get("kde")()
    work = Pass(detector.statistics)
    work.add(shown)
    given = Given(shown.head, work.sums())
    state = detector.fit(given)
    assert given.notes == ["layer stays gives the same for all images and is left out"]
    assert torch.isfinite(detector.score(shown, state)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_gives_no_numbers_is_told_by_its_image(value: float) -> None:
    x = pictures(200)
    x[150, 0, 1, 1] = value
    with pytest.raises(AnalysisError, match=r"expected finite logits, received NaN or infinite ones for image 150"):
        fit(Reader(model()), [Batch(x)], everything())


def test_another_model_is_refused(digits: Model, fitted_digits: FittedSet) -> None:
    with pytest.raises(UsageError, match="were fitted to a model of fingerprint"):
        fitted_digits.scores(model(), pictures(2))


def test_no_input_has_no_score(digits: Model, fitted_digits: FittedSet) -> None:
    found = fitted_digits.scores(digits, torch.zeros(0, 1, 8, 8))
    assert set(found) == set(fitted_digits.fitted)
    assert all(len(values) == 0 for values in found.values())


def test_sums_are_those_of_numpy() -> None:
    features, labels = blobs(90)
    work = Pass([ClassSums()])
    for rows in torch.arange(90).split(13):
        work.add(seen(features[rows], labels[rows]))
    found = work.sums()[ClassSums()]
    x = features.double()
    assert torch.allclose(found["outer"], x.T @ x)
    assert torch.allclose(found["sum"], torch.stack([x[labels == k].sum(0) for k in range(4)]))
    assert found["count"].tolist() == [23, 23, 22, 22]


def test_memory_does_not_grow_with_the_images() -> None:
    statistic = Reservoir(of_layers=False, size=20)
    work = Pass([statistic])
    most = 0
    for number in range(300):
        part = seen(torch.rand(4, 12, generator=generator(number)))
        object.__setattr__(part, "keys", torch.arange(4) + 4 * number)
        work.add(part)
        most = max(most, sum(len(state["draw"]) for state in work._waiting[statistic]))
    assert most <= 20 + 4 * (statistic.waiting + 1)
    assert len(work.sums()[statistic]["draw"]) == 20


def test_a_reservoir_is_a_uniform_sample() -> None:
    """Every image is kept equally often, whatever its key, neighbouring ones independently."""
    keys, kept = torch.arange(1000), torch.zeros(1000)
    for seed in range(400):
        kept[drawn(keys, seed).argsort()[:100]] += 1
    assert kept.mean() == 40
    assert 30 < float(kept.var()) < 42, "400 draws of a tenth have a variance of 36"
    assert abs(float(torch.corrcoef(torch.stack((kept[:-1], kept[1:])))[0, 1])) < 0.12


def test_a_fit_is_the_same_twice() -> None:
    features, labels = blobs(100)
    for name, kind in detectors.all().items():
        one, two = (fitted(kind(), seen(features, labels)).state for _ in range(2))
        assert all(torch.equal(one[key], two[key]) for key in one), name
