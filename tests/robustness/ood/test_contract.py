"""What every detector must keep, also one that is dropped in as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import xai.robustness.ood.detectors
from tests.robustness.ood.subjects import DIMENSIONS, blobs, fitted, generator, seen
from xai.explainers.base import explainers
from xai.measures.base import measures
from xai.models.model import Model
from xai.registry import Need
from xai.robustness.attacks.base import attacks
from xai.robustness.ood.detectors.base import Evidence, Reads, detectors
from xai.robustness.ood.features import Reader
from xai.robustness.ood.fitting import Batch, FittedSet, fit
from xai.robustness.ood.metrics import auroc
from xai.runtime import Runtime

NAMES = list(detectors.all())
WANTED = {
    *("msp", "maxlogit", "energy", "entropy", "gen", "odin", "kl-matching"),
    *("mahalanobis", "relative-mahalanobis", "knn", "vim", "fdbd", "hbos", "kde", "gram"),
    *("react", "dice", "ash", "scale"),
}
TOY = '''
"""A toy."""

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads


class Toy(Detector):
    """The first feature."""

    about = Method(name="toy", title="Toy", summary="It.", limits="All.", source="Nobody 2026", kind=Kind.HEURISTIC)
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.FEATURES})

    def score(self, seen, state):
        return seen.features[:, 0]
'''


def test_all_that_are_wanted_are_there() -> None:
    assert set(NAMES) == WANTED


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_declares_itself(name: str) -> None:
    kind = detectors.get(name)
    assert kind.about.name == name == kind.__module__.split(".")[-1].replace("_", "-")
    assert all((kind.about.title, kind.about.summary, kind.about.limits, kind.about.source))
    assert all(field.description for field in kind.model_fields.values()), "every parameter is described"
    assert isinstance(kind.evidence, Evidence)
    inner = {Reads.FEATURES, Reads.LAYERS, Reads.HEAD}
    assert (Need.GRAPH in kind.about.needs) == bool(kind.reads & inner)
    assert (Need.GRADIENTS in kind.about.needs) == (Reads.GRADIENTS in kind.reads) == (kind.evidence == "gradients")
    assert name not in {*explainers.all(), *measures.all(), *attacks.all()}, "one name, one method"


@pytest.mark.parametrize("name", NAMES)
def test_statistics_do_not_depend_on_order_or_batches(name: str) -> None:
    features, labels = blobs(300)
    whole = seen(features, labels, {"a": features.reshape(300, 4, 3)})
    order = torch.randperm(300, generator=generator(1))
    parts = []
    for rows in (order[:7], order[7:100], order[100:]):
        part = seen(features[rows], labels[rows], {"a": features[rows].reshape(-1, 4, 3)})
        object.__setattr__(part, "keys", whole.keys[rows])
        parts.append(part)
    one, many = fitted(detectors.get(name)(), whole), fitted(detectors.get(name)(), *parts)
    asked = seen(2 * blobs(50, seed=3)[0], layers={"a": 2 * blobs(50, seed=3)[0].reshape(50, 4, 3)})
    expected, found = one.score(asked), many.score(asked)
    assert expected.dtype == torch.float64
    assert expected.shape == (50,)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_a_bounded_sample_is_drawn_by_the_images_alone(name: str) -> None:
    """With more images than are kept, the same ones are kept in any order."""
    kind = detectors.get(name)
    small = {field: 50 for field in ("bank", "sample") if field in kind.model_fields}
    features, labels = blobs(400)
    layers = {"a": features.reshape(400, 4, 3)}
    whole = seen(features, labels, layers)
    back = torch.arange(399, -1, -1)
    turned = seen(features[back], labels[back], {"a": layers["a"][back]})
    object.__setattr__(turned, "keys", whole.keys[back])
    asked = seen(blobs(50, seed=3)[0], layers={"a": blobs(50, seed=3)[0].reshape(50, 4, 3)})
    expected = fitted(kind(**small), whole).score(asked)
    found = fitted(kind(**small), turned).score(asked)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_an_image_alone_scores_as_in_a_batch(
    digits: Model, pictures: tuple[torch.Tensor, ...], fitted_digits: FittedSet
) -> None:
    asked = torch.cat((pictures[3][:12], torch.rand(12, 1, 8, 8, generator=generator())))
    together = fitted_digits.scores(digits, asked)
    tight = Runtime(memory=3 * digits.bytes_per_input)
    batches = fitted_digits.scores(digits, asked, tight)
    alone = [fitted_digits.scores(digits, one[None]) for one in asked]
    for name, expected in together.items():
        for found in (torch.cat([one[name] for one in alone]), batches[name]):
            close = torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(expected.std()))
            assert close, (name, float((found - expected).abs().max()))


def test_fitting_does_not_depend_on_order_or_batches(
    digits: Model, pictures: tuple[torch.Tensor, ...], fitted_digits: FittedSet
) -> None:
    images, labels, _, new = pictures
    order = torch.randperm(len(images), generator=generator(4))
    cuts = order.split([1, 250, 349])
    again = fit(
        Reader(digits),
        (Batch(images[rows], labels[rows]) for rows in cuts),
        [kind() for kind in detectors.all().values()],
        Runtime(memory=17 * digits.bytes_per_input),
    )
    assert again.notes == fitted_digits.notes
    expected, found = fitted_digits.scores(digits, new), again.scores(digits, new)
    for name in NAMES:
        spread = float(expected[name].std())
        assert torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-5 * spread), name


@pytest.mark.parametrize("name", NAMES)
def test_high_is_out_of_distribution(
    name: str, digits: Model, pictures: tuple[torch.Tensor, ...], fitted_digits: FittedSet
) -> None:
    """Pale digits, as in MATLAB's example: no sign may be the wrong way round."""
    inside, outside = (fitted_digits.scores(digits, x)[name] for x in (pictures[3], 0.3 * pictures[3] + 0.1))
    assert auroc(inside, outside) > 0.9


def test_the_model_and_the_worlds_random_numbers_stay_as_they_were(
    digits: Model, pictures: tuple[torch.Tensor, ...], fitted_digits: FittedSet
) -> None:
    before, state, numpys = digits.fingerprint, torch.get_rng_state(), np.random.get_state()[1].copy()
    weights = [tensor.clone() for tensor in digits.needed_graph().module.parameters()]
    inputs = pictures[3].clone()
    fit(Reader(digits), [Batch(pictures[0][:100])], [kind() for kind in detectors.all().values()])
    fitted_digits.scores(digits, inputs)
    assert torch.equal(inputs, pictures[3])
    assert all(map(torch.equal, weights, digits.needed_graph().module.parameters()))
    assert all(tensor.grad is None for tensor in digits.needed_graph().module.parameters())
    assert digits.fingerprint == before
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpys)


# ODIN's own step has no slope, and KNN's jumps from neighbour to neighbour.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"odin", "knn"}))
def test_a_detector_whose_graph_differentiates_explains_its_score(
    name: str, digits: Model, pictures: tuple[torch.Tensor, ...], fitted_digits: FittedSet
) -> None:
    """A score is a target like any other: its slope at a picture is that of finite differences."""
    one = fitted_digits.fitted[name]
    picture = pictures[3][:1].clone().requires_grad_()
    reader = fitted_digits.reader(digits)
    score = one.score(reader.read(picture, reads=one.detector.reads))
    if not score.requires_grad or score.item() == 0:
        assert name == "gram", "within all limits it is flat"
        return
    (slope,) = torch.autograd.grad(score.sum(), picture, allow_unused=True, materialize_grads=True)
    way = torch.randn(slope.shape, generator=generator(3))
    step = 2e-3 * way / way.norm()
    ends = [float(one.score(reader.read(picture.detach() + sign * step))) for sign in (1, -1)]
    rise = float((slope * step).sum() * 2)
    assert ends[0] - ends[1] == pytest.approx(rise, rel=0.3, abs=0.02 * float(slope.norm() * step.norm()))


def test_one_file_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "family"
    folder.mkdir()
    (folder / "zz_toy.py").write_text(TOY)
    package = xai.robustness.ood.detectors
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    features, labels = blobs(20)
    toy = fitted(detectors.get("toy")(), seen(features, labels))
    assert torch.equal(toy.score(seen(features)), features[:, 0].double())
    assert features.shape[1] == DIMENSIONS
