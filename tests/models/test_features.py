"""Features of a layer, and an estimator on them that is a model like any other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from torch import nn

import xai
from tests.networks import Small, seeded
from xai.errors import NotApplicableError, RefusedFileError, UsageError
from xai.models.features import BATCH, features
from xai.models.head import find_head
from xai.models.model import Model
from xai.models.samples.digits import split

Rows = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def rows(digits: Model) -> Rows:
    found, labels = xai.features(digits, "sample:digits:0-300", layer="pool")
    assert labels is not None
    return found, labels


def rest() -> tuple[torch.Tensor, np.ndarray]:
    test = split()[1]
    return test.images[300:], test.labels[300:].numpy()


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_the_default_is_what_the_head_reads(digits: Model) -> None:
    x = noise(5, 1, 8, 8)
    found = find_head(digits.needed_graph(), digits.input.shape)
    assert found is not None
    torch.testing.assert_close(
        found.head.logits(features(digits, x).double()), digits(x).double(), atol=1e-4, rtol=1e-4
    )


def test_maps_are_averaged_over_places(digits: Model) -> None:
    x = noise(3, 1, 8, 8)
    maps = digits.activation(x, digits.layer("features.5"))
    assert maps.ndim == 4
    torch.testing.assert_close(features(digits, x, "features.5"), maps.mean((2, 3)))
    assert torch.equal(features(digits, x, "pool"), features(digits, x, "flatten"))


def test_batches_do_not_matter_and_nothing_of_the_model_changes(digits: Model) -> None:
    x, fingerprint = noise(BATCH + 3, 1, 8, 8), digits.fingerprint
    together = features(digits, x, "pool")
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, torch.cat([features(digits, row[None], "pool") for row in x]))
    assert not features(digits, x.requires_grad_(), "pool").requires_grad
    assert digits.fingerprint == fingerprint


def test_without_a_head_the_last_map_is_taken() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 16 - 2), nn.Flatten(), nn.Softmax(1))
    model = xai.load(network, shape=(3, 16, 16))
    assert torch.equal(features(model, noise(2, 3, 16, 16)), features(model, noise(2, 3, 16, 16), "1"))


def test_what_cannot_be_taken_is_refused(digits: Model) -> None:
    with pytest.raises(UsageError, match="there is no layer 'pol'; did you mean 'pool'"):
        features(digits, noise(1, 1, 8, 8), "pol")
    with pytest.raises(UsageError, match=r"expected inputs of shape \(n, 1, 8, 8\), received \(1, 3, 8, 8\)"):
        features(digits, noise(1, 3, 8, 8))
    with pytest.raises(NotApplicableError, match="black box"):
        features(xai.load(lambda batch: batch.flatten(1), shape=(4,)), noise(1, 4))


def test_a_layer_without_a_row_an_input_is_refused() -> None:
    class Joined(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + x.sum((1, 2, 3), keepdim=True).reshape(-1)[:, None]

    model = xai.load(seeded(Joined), shape=(3, 16, 16))
    flat = next(layer.name for layer in model.needed_graph().layers.values() if layer.shape == ())
    with pytest.raises(UsageError, match=rf"layer '{flat}' gives a tensor of shape \(2,\) for 2 inputs"):
        features(model, noise(2, 3, 16, 16), flat)


def test_features_of_data_come_with_their_labels(digits: Model, rows: Rows) -> None:
    found, labels = rows
    test = split()[1]
    assert found.dtype == np.float32
    assert labels.tolist() == test.labels[:300].tolist()
    np.testing.assert_allclose(found, features(digits, test.images[:300], "pool").numpy(), rtol=1e-5)
    unlabelled, none = xai.features(digits, list(test.images[:2].numpy()))
    assert none is None
    assert unlabelled.shape == (2, 48)


def test_labels_of_another_task_are_named_by_its_classes(small: Model) -> None:
    x, labels = noise(4, 3, 16, 16).numpy(), np.array(["cat", "dog", "dog", "owl"])
    with pytest.raises(UsageError, match="there is no class 'cat'"):
        xai.features(small, (x, labels))
    assert xai.features(small, (x, labels), classes=["owl", "dog", "cat"])[1].tolist() == [2, 1, 1, 0]  # type: ignore[union-attr]


def test_what_cannot_be_read_is_left_out_of_both_and_said(
    small: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("class 0", "class 1"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), "red").save(tmp_path / name / "a.png")
    (tmp_path / "class 0" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with caplog.at_level(logging.WARNING):
        found, labels = xai.features(small, tmp_path)
    assert found.shape == (2, 8)
    assert labels is not None
    assert labels.tolist() == [0, 1]
    assert "1 of 3 entries were left out; the first, class 0/b: image" in caplog.text
    (tmp_path / "class 0" / "a.png").unlink()
    (tmp_path / "class 1" / "a.png").unlink()
    with pytest.raises(RefusedFileError, match="none of the 1 entries"):
        xai.features(small, tmp_path)


@pytest.mark.parametrize(
    ("estimator", "output"),
    [
        (SVC(), "logits"),
        (make_pipeline(StandardScaler(), LinearSVC()), "logits"),
        (KNeighborsClassifier(), "probabilities"),
        (LogisticRegression(max_iter=1000), "probabilities"),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_an_estimator_on_features_is_a_model_that_is_right(
    digits: Model, rows: Rows, estimator: Any, output: str
) -> None:
    model = xai.load(xai.on_features(digits, estimator.fit(*rows), layer="pool"))
    images, labels = rest()
    answers = model(images).argmax(1).numpy()
    assert (answers == labels).mean() > 0.95
    assert (answers == estimator.predict(features(digits, images, "pool").numpy())).mean() > 0.99
    assert model.classes == digits.classes
    assert model.card.output == output
    assert model.graph is None
    assert any("are not calibrated" in line for line in model.assumed) == (output == "logits")


def test_occlusion_explains_it_and_what_needs_a_graph_says_why_not(digits: Model, rows: Rows) -> None:
    model = xai.load(xai.on_features(digits, SVC().fit(*rows), layer="pool"))
    picture = split()[1].images[300]
    run = xai.explain(model, picture, methods=["occlusion", "gradcam"])
    assert run["occlusion"].map.shape == (8, 8)
    assert np.abs(run["occlusion"].map).max() > 0
    (skipped,) = [finding for finding in run.findings if finding.method == "gradcam"]
    assert (skipped.status, "SVC on pool of" in skipped.reason) == ("skipped", True)


def test_it_takes_what_the_network_takes_and_normalises_once(small: Model) -> None:
    assert small.input.mean != (0.0,)
    x, labels = noise(40, 3, 16, 16), np.arange(40) % 2
    estimator = LogisticRegression().fit(features(small, x).numpy(), labels)
    model = xai.load(xai.on_features(small, estimator))
    assert model.input.shape == small.input.shape
    np.testing.assert_allclose(model(x), estimator.predict_proba(features(small, x).numpy()), rtol=1e-4)
    assert not any("not declared" in line for line in model.assumed)


def test_one_score_of_two_classes_is_for_the_second(small: Model) -> None:
    x, labels = noise(40, 3, 16, 16), np.array(["dark", "light"])[np.arange(40) % 2]
    estimator = SVC(C=1000.0).fit(features(small, x).numpy(), labels)
    model = xai.load(xai.on_features(small, estimator))
    assert model.answers == ("dark", "light")
    said = [model.answer(outputs) for outputs in model(x)]
    assert said == estimator.predict(features(small, x).numpy()).tolist()


def test_classes_can_be_given_other_names(digits: Model, rows: Rows) -> None:
    names = tuple(f"digit {name}" for name in range(10))
    assert xai.load(xai.on_features(digits, SVC().fit(*rows), layer="pool"), classes=names).classes == names


def test_what_does_not_fit_is_refused_at_once(digits: Model, rows: Rows) -> None:
    found, labels = rows
    for estimator, layer, message in (
        (SVC(), "pool", "expected a fitted classifier .*, received SVC; fit it to what xai.features gives"),
        (OneClassSVM().fit(found), "pool", "expected a fitted classifier"),
        (SVC().fit(found, labels), "features.1", "rows of 48 numbers, and layer 'features.1' gives 16"),
        (SVC(decision_function_shape="ovo").fit(found, labels), None, "each of 10 classes, received 45 .*'ovr'"),
        (SVC().fit(found, labels), "pol", "there is no layer 'pol'"),
    ):
        with pytest.raises(UsageError, match=message):
            xai.on_features(digits, estimator, layer=layer)
    with pytest.raises(UsageError, match=r"expected a model from xai\.load, received str"):
        xai.on_features("sample:digits", SVC())  # type: ignore[arg-type]


def test_a_support_vector_machine_on_features_as_in_a_notebook() -> None:
    model = xai.load("sample:digits")
    known, labels = xai.features(model, "sample:digits:0-300", layer="pool")
    new, truth = xai.features(model, "sample:digits:300-500", layer="pool")

    svm = SVC().fit(known, labels)
    assert svm.score(new, truth) > 0.95

    on_top = xai.load(xai.on_features(model, svm, layer="pool"))
    run = xai.explain(on_top, "sample:digits", methods="occlusion")
    assert {finding.status for finding in run.findings} == {"ok"}
