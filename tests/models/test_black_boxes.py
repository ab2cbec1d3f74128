"""Black boxes: whatever gives scores is explained by what needs only scores, and the rest says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from torch import nn

from tests.models.onnx.test_networks import saved
from tests.networks import Small, seeded
from xai.api import explain, load
from xai.errors import RefusedFileError, UsageError
from xai.explainers.base import explainers
from xai.models.model import Model


class Wayward(nn.Module):
    """Its data decide which way it goes: torch.export cannot follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(Small)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) if x.sum() > 0 else self.inner(-x)


def function(tmp_path: Path) -> Model:
    weights = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return load(lambda batch: torch.einsum("bchw,kchw->bk", batch, weights), shape=(3, 16, 16))


def numpy_function(tmp_path: Path) -> Model:
    return load(lambda batch: np.asarray(batch).reshape(len(batch), -1)[:, :4], shape=(3, 16, 16))


def wayward(tmp_path: Path) -> Model:
    return load(Wayward(), shape=(3, 16, 16))


def in_onnxruntime(tmp_path: Path) -> Model:
    nodes = [helper.make_node("Det", ["x"], ["d"], name="d"), helper.make_node("Flatten", ["d"], ["y"])]
    return load(saved(nodes, tmp_path / "net.onnx", [1, 3, 16, 16]))


def estimator(tmp_path: Path) -> Model:
    rows, labels = load_digits(return_X_y=True)
    return load(KNeighborsClassifier().fit(rows[:300] / 16, labels[:300]), shape=(1, 8, 8))


KINDS: dict[str, tuple[Callable[[Path], Model], str]] = {
    "function": (function, "it is a function"),
    "numpy function": (numpy_function, "it is a function"),
    "wayward module": (wayward, "torch.export cannot follow"),
    "onnxruntime": (in_onnxruntime, "operator Det"),
    "estimator": (estimator, "KNeighborsClassifier has predict_proba and no graph"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_only_outputs_works_and_the_rest_is_skipped_with_its_reason(tmp_path: Path, kind: str) -> None:
    make, reason = KINDS[kind]
    model = make(tmp_path)
    assert model.graph is None
    assert reason in model.no_graph
    x = torch.rand(*model.input.shape, generator=torch.Generator().manual_seed(0))
    run = explain(model, x, methods="all", parameters={"lime": {"samples": 60}})
    statuses = {finding.method: finding.status for finding in run.findings}
    expected = {name: "skipped" if cls.about.needs else "ok" for name, cls in explainers.all().items()}
    assert statuses == {**expected, "agreement": "ok"}
    assert {"lime", "occlusion"} <= {name for name, status in statuses.items() if status == "ok"}
    for finding in run.findings:
        assert (reason in finding.reason) == (finding.status == "skipped")
        assert "failed" not in {trust.status for trust in finding.trust}
    batch = torch.rand(5, *model.input.shape)
    torch.testing.assert_close(model(batch), torch.cat([model(row[None]) for row in batch]), atol=1e-4, rtol=1e-4)


def test_occlusion_of_a_function_is_its_closed_form() -> None:
    weights = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = load(lambda batch: torch.einsum("bchw,kchw->bk", batch, weights), shape=(1, 8, 8))
    x = torch.rand(1, 8, 8)
    options = {"occlusion": {"window": 1, "stride": 1, "fill": "black"}}
    found = explain(model, x, methods="occlusion", measures="none", target=1, parameters=options)["occlusion"].map
    np.testing.assert_allclose(found, (weights[1, 0] * x[0]).numpy(), atol=2e-5)


def test_an_estimator_brings_its_classes(tmp_path: Path) -> None:
    model = estimator(tmp_path)
    assert model.classes == tuple("0123456789")
    assert model.card.output == "probabilities"
    assert model.format == "live object"


def test_an_estimator_of_several_labels_gives_values_and_no_logits() -> None:
    rows, digits = load_digits(return_X_y=True)
    labels = np.stack([digits > 4, digits % 2 == 0], axis=1).astype(int)
    model = load(
        MLPClassifier((4,), tol=10.0, n_iter_no_change=2, random_state=0).fit(rows[:200] / 16, labels[:200]),
        shape=(1, 8, 8),
    )
    assert model.card.output == "values"
    assert any("predict_proba gives each: yes or no" in line for line in model.assumed)


class Mixing(nn.Module):
    """Its answer for an input depends on the others in the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(1)[:, :4]
        return rows - rows.mean(0)


class Single(nn.Module):
    """It takes one input at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, -1)[:, :4]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Mixing(), "depend on the others in its batch"),
        (lambda: lambda x: x.flatten(1)[:, :4] - x.flatten(1)[:, :4].mean(0), "depend on the others in its batch"),
        (lambda: lambda x: x.reshape(1, 3, 16, 16).flatten(1)[:, :4], "does not take a batch of 3"),
        (lambda: Single(), "for 3 inputs it returns"),
    ],
)
def test_what_mixes_its_batch_runs_input_by_input_and_says_so(make: Callable[[], object], reason: str) -> None:
    model = load(make(), shape=(3, 16, 16))
    assert model.graph is None
    assert reason in model.no_graph
    assert "it runs input by input" in model.no_graph
    x = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(model(x), torch.cat([model(row[None]) for row in x]))


class Centred(nn.Module):
    """Its outputs are small, or have an offset, and depend on the others in the batch."""

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.head = seeded(lambda: nn.Linear(4, 3))
        self.scale, self.offset = scale, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x)
        return (y - 0.5 * y.mean(0)) * self.scale + self.offset


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (1e-6, 0.0), (1e-12, 0.0), (1.0, 300.0), (0.01, 300.0)])
def test_mixing_is_seen_whatever_the_outputs_scale_and_offset(tmp_path: Path, scale: float, offset: float) -> None:
    network, example = Centred(scale, offset), torch.rand(4, 4)
    torch.export.save(torch.export.export(network, (example,)), tmp_path / "fixed.pt2")
    model = load(network, shape=(4,))
    assert "depend on the others in its batch" in model.no_graph
    try:
        file = load(tmp_path / "fixed.pt2")
        assert "depend on the others in its batch" in file.no_graph
    except RefusedFileError as refused:
        assert "depends on the other inputs of the batch" in str(refused)  # noqa: PT017  # either is honest


def test_a_live_network_that_its_graph_is_not_is_run_as_it_is() -> None:
    class Counting(nn.Module):
        """One input is treated in another way; torch.export does not see it."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -x if x.shape[0] == 1 else x

    model = load(Counting(), shape=(4,))
    assert model.graph is None
    assert "for 1 input its graph differs from the module itself by 2 of the largest output" in model.no_graph
    x = torch.rand(1, 4)
    assert torch.equal(model(x), -x)


def test_rounding_is_not_taken_for_mixing() -> None:
    class Rounding(nn.Module):
        """All that is left of its outputs is rounding."""

        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self.inner = seeded(Small).to(dtype)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            return (y + 1000) - y - 1000

    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert load(Rounding(dtype), shape=(3, 16, 16)).graph is not None
        assert load(seeded(Small).to(dtype), shape=(3, 16, 16)).graph is not None


def test_outputs_that_depend_on_the_batchs_size_are_run_input_by_input() -> None:
    model = load(lambda x: x.flatten(1)[:, :4] / len(x), shape=(3, 8, 8))
    assert "depend on how many others are in its batch" in model.no_graph


def test_random_outputs_are_not_taken_for_mixing() -> None:
    model = load(lambda x: x.flatten(1)[:, :4] + torch.rand(len(x), 4), shape=(3, 8, 8))
    assert "batch" not in model.no_graph
    (said,) = [line for line in model.assumed if "drawn at random" in line]
    assert "net.eval()" in said


def test_a_network_that_torchao_quantised_opens() -> None:
    from torchao import quantization

    for config, is_graph in (
        (quantization.Int8WeightOnlyConfig(), True),
        (quantization.Int8DynamicActivationInt8WeightConfig(), False),
    ):
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 64), nn.Linear(64, 5)
        ).eval()
        quantization.quantize_(network, config)
        model = load(network, shape=(3, 8, 8))
        x = torch.rand(3, 3, 8, 8)
        torch.testing.assert_close(model(x), network(x), atol=1e-5, rtol=1e-5)
        assert (model.graph is not None) == is_graph
        assert is_graph or "rounding has no gradient" in model.no_graph


@pytest.mark.parametrize("batch", [1, None])
def test_a_network_that_pt2e_quantised_to_int8_opens_as_a_black_box(batch: int | None) -> None:
    from torchao.quantization.pt2e import move_exported_model_to_eval, quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    )
    x = torch.rand(batch or 3, 3, 16, 16)
    free = None if batch else ({0: torch.export.Dim("batch")},)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = quantize_pt2e.prepare_pt2e(torch.export.export(network, (x,), dynamic_shapes=free).module(), quantizer)
    prepared(x)  # which its observers see
    quantised = move_exported_model_to_eval(quantize_pt2e.convert_pt2e(prepared))
    model = load(quantised, shape=(3, 16, 16))
    assert model.graph is None
    assert ("rounding has no gradient" if free else "it runs input by input") in model.no_graph
    several = torch.rand(4, 3, 16, 16)
    expected = torch.cat([quantised(row) for row in several.split(batch or 4)])
    torch.testing.assert_close(model(several), expected, atol=1e-7, rtol=0)
    assert not torch.equal(expected, network(several)), "it was not quantised"
    run = explain(model, several[0], methods=["gradcam", "occlusion"], measures="none")
    assert [finding.status for finding in run.findings] == ["skipped", "ok"]


def test_what_is_no_network_is_told() -> None:
    with pytest.raises(UsageError, match=r"predict_proba, received int"):
        load(3, shape=(3, 8, 8))
    with pytest.raises(UsageError, match=r"the input of .* is not known"):
        load(lambda batch: batch)
    with pytest.raises(RefusedFileError, match="returns a tensor of shape"):
        load(lambda batch: batch, shape=(3, 8, 8))
    with pytest.raises(RefusedFileError, match=r"returns a tensor of shape \(1,\).*return scores\[:, None\]"):
        load(lambda batch: batch.flatten(1).sum(1), shape=(3, 8, 8))
    with pytest.raises(RefusedFileError, match="division by zero"):
        load(lambda batch: 1 / 0, shape=(3, 8, 8))


def test_an_estimator_of_several_answers_says_what_to_give() -> None:
    rows = np.random.default_rng(0).random((20, 4))
    several = MultiOutputClassifier(LogisticRegression()).fit(rows, rows[:, :2].round().astype(int))
    with pytest.raises(UsageError, match=r"returns 2 tables, one for each of its answers; .*estimators_\[0\]"):
        load(several, shape=(4,))
    assert load(several.estimators_[0], shape=(4,)).classes == ("0", "1")


@pytest.mark.parametrize("batched", [False, True])
def test_an_example_tells_a_live_networks_shape(batched: bool) -> None:
    example = torch.rand(2, 3, 16, 16) if batched else torch.rand(3, 16, 16)
    model = load(seeded(Small), example=example, classes=["a", "b", "c", "d"], mean=(0.4, 0.5, 0.6), std=0.25)
    assert model.input.shape == (3, 16, 16)
    assert model.classes == tuple("abcd")
    rows = load(nn.Linear(7, 2), example=np.zeros(7) if not batched else np.zeros((4, 7)))
    assert rows.input.shape == (7,)


@pytest.mark.parametrize("example", [[[1.0], [2.0, 3.0]], "photo.png", torch.rand(0, 3, 16, 16)])
def test_an_example_that_is_none_is_told(example: object) -> None:
    with pytest.raises(UsageError, match=r"expected a tensor or an array|is empty"):
        load(seeded(Small), example=example)


def test_an_example_that_does_not_fit_is_told() -> None:
    with pytest.raises(UsageError, match=r"does not take the example of shape \(5, 16, 16\)"):
        load(seeded(Small), example=torch.rand(5, 16, 16))
    with pytest.raises(UsageError, match=r"values in \[.*give pixels with mean"):
        load(seeded(Small), example=torch.randn(1, 3, 16, 16))
    assert load(seeded(Small), example=torch.randn(1, 3, 16, 16), range=None).input.range is None


def test_an_example_of_another_shape_than_was_declared_is_told(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("input: {shape: [3, 24, 24]}")
    example = torch.rand(3, 16, 16)
    for declared in ({"shape": (3, 24, 24)}, {"card": tmp_path / "card.yaml"}):
        with pytest.raises(UsageError, match=r"shape \(3, 16, 16\), and the shape \(3, 24, 24\) was declared"):
            load(seeded(Small), example=example, **declared)
    assert load(seeded(Small), example=example, shape=[3, 16, 16]).input.shape == (3, 16, 16)
