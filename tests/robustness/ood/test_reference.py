"""Against pytorch-ood on the same features: equal, or equal after a positive scale that is stated."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.ood.subjects import CLASSES, DIMENSIONS, blobs, fitted, generator, head, seen
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.ood.metrics import auroc

theirs = pytest.importorskip("pytorch_ood.detector", reason="pytorch-ood is not installed")

TRAIN, LABELS = blobs(600)
INSIDE, OUTSIDE = blobs(80, seed=1)[0], 4 * torch.rand(80, DIMENSIONS, generator=generator(2))
NEW = torch.cat((INSIDE, OUTSIDE))
HEAD = head()
LOGITS, TRAIN_LOGITS = HEAD.logits(NEW.double()).float(), HEAD.logits(TRAIN.double()).float()
W, B = HEAD.weight.float(), HEAD.bias.float()


def head_of(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(1) @ W.T + B


def ours(name: str, **parameters: object) -> torch.Tensor:
    return fitted(detectors.get(name)(**parameters), seen(TRAIN, LABELS)).score(seen(NEW))


def by_features(detector: object) -> torch.Tensor:
    detector.fit_features(TRAIN, LABELS)
    return detector.predict_features(NEW)


def react() -> torch.Tensor:
    detector = theirs.ReAct(None, head_of, percentile=0.9)
    detector.fit_feature_maps(TRAIN[:, :, None, None], LABELS)
    return detector.predict_feature_maps(NEW[:, :, None, None])


def kl_matching() -> torch.Tensor:
    return theirs.KLMatching(None).fit_logits(TRAIN_LOGITS, LABELS).predict_logits(LOGITS)


def odin() -> torch.Tensor:
    network = torch.nn.Linear(DIMENSIONS, CLASSES)
    network.weight.data, network.bias.data = W, B
    return theirs.ODIN(network, eps=0.0014, temperature=1000.0).predict(NEW)


MAPS = NEW[:, :, None, None]
# name, parameters, theirs, and what theirs times the scale plus the offset is
CASES = {
    "msp": ({}, lambda: theirs.MaxSoftmax(None).predict_logits(LOGITS), 1, 1),  # one minus the probability
    "maxlogit": ({}, lambda: theirs.MaxLogit(None).predict_logits(LOGITS), 1, 0),
    "energy": ({"temperature": 2.0}, lambda: theirs.EnergyBased(None, t=2.0).predict_logits(LOGITS), 1, 0),
    "entropy": ({}, lambda: theirs.Entropy(None).predict_logits(LOGITS), 1, 0),
    "gen": (
        {"floor": 1e-7},
        lambda: theirs.GEN(None).predict_logits(LOGITS.double()),
        CLASSES,
        0,
    ),  # the paper's sum, not a mean
    "odin": ({}, odin, 1, 0),
    "kl-matching": ({}, kl_matching, 1, 0),
    # theirs is half the distance in the sum of outer products, ours the distance in their mean
    "mahalanobis": ({"shrinkage": 0.0}, lambda: by_features(theirs.Mahalanobis(None)), 2 * len(TRAIN), 0),
    "relative-mahalanobis": ({"shrinkage": 0.0}, lambda: by_features(theirs.RMD(None)), len(TRAIN), 0),
    "knn": ({"k": 5}, lambda: by_features(theirs.KNN(None, k=5)), 1, 0),
    "vim": ({"dimensions": 6}, lambda: by_features(theirs.ViM(None, 6, W, B)), 1, 0),
    "fdbd": ({}, lambda: by_features(theirs.fDBD(None, linear())), 1, 0),
    "react": ({"share": 0.9}, react, 1, 0),
    "dice": ({"share": 0.7}, lambda: by_features(theirs.DICE(None, W, B, p=0.7)), 1, 0),
    "ash": ({"share": 0.65}, lambda: theirs.ASH(None, head_of, percentile=0.65).predict_feature_maps(MAPS), 1, 0),
    "scale": ({"share": 0.65}, lambda: theirs.SCALE(None, head_of, percentile=0.65).predict_feature_maps(MAPS), 1, 0),
}


def linear() -> torch.nn.Linear:
    layer = torch.nn.Linear(DIMENSIONS, CLASSES)
    layer.weight.data, layer.bias.data = W.clone(), B.clone()
    return layer


@pytest.mark.parametrize("name", CASES)
def test_scores_are_pytorch_oods_times_a_stated_scale(name: str) -> None:
    parameters, compute, scale, offset = CASES[name]
    found, expected = ours(name, **parameters), compute().detach().double() * scale + offset
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-5 * float(expected.abs().max()))
    assert auroc(found[:80], found[80:]) == pytest.approx(auroc(expected[:80], expected[80:]), abs=1e-3)


def test_gram_is_pytorch_oods_within_the_same_limits() -> None:
    maps, new = torch.rand(200, 6, 3, 3, generator=generator(3)), 1.2 * torch.rand(40, 6, 3, 3, generator=generator(4))
    labels = torch.arange(200) % CLASSES
    # Their own tenth is held back by a global random number: limits and units are given to both.
    ours_ = detectors.get("gram")(powers=2, places=0)
    of = head(dimensions=6)
    features = maps.mean((2, 3))
    state = fitted(ours_, seen(features, labels, {"a": maps.flatten(2)}, of)).state
    reference = theirs.Gram(torch.nn.Identity(), [torch.nn.Identity()], CLASSES, num_poles_list=[1, 2])
    reference.feature_min = [[state["a/low"][:-1, power].float() for power in (0, 1)]]
    reference.feature_max = [[state["a/high"][:-1, power].float() for power in (0, 1)]]
    reference.layer_norm = state["a/unit"][None].float()
    shown = seen(new.mean((2, 3)), layers={"a": new.flatten(2)}, of=of)
    expected = reference.predict_structured(shown.logits, [new]).double()
    assert ours_.score(shown, state).tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-5)


def test_every_detector_that_pytorch_ood_has_is_compared() -> None:
    assert set(detectors.all()) - set(CASES) == {"gram", "hbos", "kde"}, "it has neither HBOS nor KDE"
