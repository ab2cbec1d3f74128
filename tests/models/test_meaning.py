"""What outputs mean: declared, or detected and said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.networks import Linear
from xai.api import explain, load
from xai.errors import RefusedFileError

SHAPE = (3, 12, 10)
X = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


def network(outputs: int, end: nn.Module) -> nn.Module:
    return nn.Sequential(Linear(classes=outputs), end)


def test_probabilities_are_detected_and_said() -> None:
    model = load(network(3, nn.Softmax(dim=1)), shape=SHAPE)
    assert model.card.output == "probabilities"
    (said,) = [line for line in model.assumed if "probabilities" in line]
    assert "sum to one" in said
    assert "returns logits" in said
    prediction = explain(model, X, methods="occlusion", measures="none").record.inputs[0].predictions[0]
    assert prediction.probability == prediction.output


def test_logits_are_not_taken_for_probabilities() -> None:
    model = load(Linear(), shape=SHAPE)
    assert model.card.output == "logits"
    assert not any("probabilities" in line for line in model.assumed)


def test_what_is_declared_holds_and_a_contradiction_is_said() -> None:
    model = load(network(3, nn.Softmax(dim=1)), shape=SHAPE, output="probabilities")
    assert not any("probabilities" in line for line in model.assumed)
    model = load(network(3, nn.Softmax(dim=1)), shape=SHAPE, output="logits")
    assert model.card.output == "probabilities"
    assert any("declared to be logits, but they sum to one" in line for line in model.assumed)
    with pytest.raises(RefusedFileError, match=r"^declared: output: probabilities .*, but .* declare logits"):
        load(Linear(), shape=SHAPE, output="probabilities")
    model = load(Linear(), shape=SHAPE, output="values")
    assert explain(model, X, methods="occlusion").record.inputs[0].predictions[0].probability is None


@pytest.mark.parametrize(
    ("classes", "name", "other"),
    [
        ((), "positive", "not positive"),
        (("defect",), "defect", "not defect"),
        (("fine", "defect"), "defect", "fine"),
    ],
)
@pytest.mark.parametrize("bias", [-500.0, 500.0])
def test_one_logit_is_for_its_class_or_against_it(classes: tuple[str, ...], name: str, other: str, bias: float) -> None:
    model = load(network(1, Shifted(bias)), shape=SHAPE, classes=classes)
    assert model.classes == (name,)
    assert any("one output" in line for line in model.assumed) == (len(classes) != 1)
    record = explain(model, X, methods=["occlusion", "deepdream"], measures="none").record
    (prediction,) = record.inputs[0].predictions
    assert prediction.name == (name if bias > 0 else other)
    assert prediction.probability == pytest.approx(1)
    assert record.findings[0].target.name == name
    assert record.findings[1].values["model's answer"].value == (name if bias > 0 else other)


class Shifted(nn.Module):
    """Adds a number."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias


@pytest.mark.parametrize("declared", [{}, {"output": "logits"}])
def test_one_sigmoid_is_detected_and_said(declared: dict[str, str]) -> None:
    model = load(network(1, nn.Sigmoid()), shape=SHAPE, **declared)
    assert model.card.output == "probabilities"
    assert any("a sigmoid gives it" in line for line in model.assumed)


def test_one_logit_that_happens_to_lie_between_0_and_1_stays_a_logit() -> None:
    model = load(nn.Sequential(Linear(classes=1), nn.Hardtanh(0.2, 0.8)), shape=SHAPE)
    assert model.card.output == "logits"


def test_a_sigmoid_for_each_class_gives_values() -> None:
    model = load(network(3, nn.Sigmoid()), shape=SHAPE)
    assert model.card.output == "values"
    assert any("a sigmoid gives each" in line for line in model.assumed)
    first = explain(model, X, methods="occlusion", measures="none").record.inputs[0].predictions[0]
    assert first.probability is None
