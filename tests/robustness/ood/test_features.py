"""The head is found in every form that a graph gives it, and layers are read where they stand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xai
from tests.networks import Branching, Mlp, Small, seeded
from xai.errors import NotApplicableError, UsageError
from xai.models.model import Model
from xai.robustness.ood.detectors.base import Reads, detectors
from xai.robustness.ood.features import Reader, content_keys
from xai.robustness.ood.fitting import Batch, fit


def opened(network: nn.Module, shape: tuple[int, ...] = (3, 12, 10), **options: object) -> Model:
    return xai.load(network.eval(), shape=shape, mean=0.0, std=1.0, **options)


def pictures(count: int = 5, shape: tuple[int, ...] = (3, 12, 10)) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


class Squashed(nn.Module):
    """A head within a module, a reshape, and a softmax or sigmoid behind it."""

    def __init__(self, classes: int, last: str = "softmax") -> None:
        super().__init__()
        self.inner = seeded(Small)
        self.inner.head = nn.Linear(8, classes)
        nn.init.normal_(self.inner.head.weight, generator=torch.Generator().manual_seed(2))
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x)
        return logits.softmax(1) if self.last == "softmax" else logits.sigmoid()


class ByHand(nn.Module):
    """A matrix product and an addition instead of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(7, 3, generator=drawn))
        self.bias = nn.Parameter(torch.randn(3, generator=drawn))
        self.first = nn.Linear(360, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.first(x.flatten(1))) @ self.weight + self.bias


class ConvHead(nn.Module):
    """Classes come of a convolution: there is no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x))).mean((2, 3))


@pytest.mark.parametrize("make", [lambda: seeded(Small), lambda: seeded(Mlp), ByHand])
def test_features_times_weight_plus_bias_are_the_logits(make) -> None:
    model = opened(make())
    seen = Reader(model).read(pictures())
    assert seen.head is not None
    assert torch.allclose(seen.head.logits(seen.features), seen.logits, atol=1e-4)
    assert torch.allclose(seen.logits.float(), model(pictures()), atol=1e-5)


def test_layers_are_the_last_map_of_every_resolution_and_the_features(digits: Model) -> None:
    reader = Reader(digits)
    seen = reader.read(pictures(3, (1, 8, 8)))
    grids = [place.layer.layout.grid if place.layer.is_feature_map else None for place in reader.places]
    assert grids == [(8, 8), (4, 4), None]
    for place in reader.places:
        expected = digits.activation(pictures(3, (1, 8, 8)), place.layer).detach()
        assert torch.equal(seen.layers[place.name], expected.reshape(3, expected.shape[1], -1))
    last = reader.places[1].layer
    value = digits.activation(pictures(3, (1, 8, 8)), last).detach()
    assert torch.allclose(seen.means[last.name], value.mean((2, 3)), atol=1e-6)
    assert torch.allclose(seen.features, value.mean((2, 3)).double(), atol=1e-6), "the head reads their mean"


def test_layers_are_chosen_by_name(digits: Model) -> None:
    name = next(iter(digits.needed_graph().layers))
    assert list(Reader(digits, (name,)).read(pictures(2, (1, 8, 8))).layers) == [name]
    with pytest.raises(UsageError, match="there is no layer 'nothing'"):
        Reader(digits, ("nothing",))


def test_tokens_are_read_by_channel() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix, self.head = nn.Linear(10, 6), nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(self.embed(x.flatten(1, 2))).mean(1))

    model = opened(Tokens())
    value = Reader(model, ("mix",)).read(pictures()).layers["mix"]
    assert value.shape == (5, 6, 36)


@pytest.mark.parametrize(("classes", "last"), [(4, "softmax"), (1, "sigmoid")])
def test_logits_are_taken_before_a_softmax_or_sigmoid(classes: int, last: str) -> None:
    network = Squashed(classes, last)
    model = opened(network, output="probabilities")
    seen = Reader(model).read(pictures())
    raw = network.inner(pictures()).detach().double()
    expected = raw if classes > 1 else torch.cat((0 * raw, raw), 1)
    assert torch.allclose(seen.logits, expected, atol=1e-5)
    assert seen.head is not None
    assert torch.allclose(seen.head.logits(seen.features), expected, atol=1e-5)
    assert not Reader(model).missing


def test_without_a_linear_layer_the_last_map_stands_for_the_features() -> None:
    reader = Reader(opened(ConvHead()))
    assert set(reader.missing) == {Reads.HEAD}
    assert reader.read(pictures()).features.shape == (5, 4)
    found = fit(reader, [Batch(pictures(40))], [kind() for kind in detectors.all().values()])
    assert {"ash", "dice", "fdbd", "react", "scale", "vim"} == set(found.skipped)
    assert set(found.skipped.values()) == {"the outputs do not come of a linear layer"}


def test_a_black_box_gets_the_detectors_of_logits_alone() -> None:
    model = opened(seeded(Branching))
    assert model.graph is None
    found = fit(Reader(model), [Batch(pictures(40))], [kind() for kind in detectors.all().values()])
    assert set(found.fitted) == {"msp", "maxlogit", "energy", "entropy", "gen", "kl-matching"}
    assert all("black box" in reason for reason in found.skipped.values())
    scores = found.scores(model, pictures())
    assert scores["maxlogit"].tolist() == pytest.approx((-model(pictures()).max(1).values).tolist())


def test_probabilities_of_a_black_box_have_no_size_of_logits() -> None:
    class Box(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).softmax(1)

    found = fit(Reader(opened(seeded(Box), output="probabilities")), [Batch(pictures(9))], [detectors.get("msp")()])
    assert set(found.fitted) == {"msp"}
    with pytest.raises(NotApplicableError, match="the size of its logits cannot be told"):
        fit(Reader(opened(seeded(Box), output="probabilities")), [Batch(pictures(9))], [detectors.get("energy")()])


def test_values_have_no_classes_but_features() -> None:
    model = opened(seeded(Mlp), output="values")
    found = fit(Reader(model), [Batch(pictures(60))], [kind() for kind in detectors.all().values()])
    assert set(found.fitted) == {"hbos", "kde", "knn"}
    assert set(found.skipped.values()) == {"the model's outputs are values, not classes"}


def test_keys_follow_from_the_bytes_of_an_input() -> None:
    x = pictures(4)
    keys = content_keys(x)
    assert torch.equal(content_keys(x[[2, 0]]), keys[[2, 0]])
    assert len(set(keys.tolist())) == 4
    x[0, 0, 0, 0] += 1e-6
    assert content_keys(x)[0] != keys[0]
    assert torch.equal(content_keys(x)[1:], keys[1:])


def test_wrong_shapes_and_labels_are_refused(digits: Model) -> None:
    reader = Reader(digits)
    with pytest.raises(UsageError, match=r"expected inputs of shape \(n, 1, 8, 8\), received \(5, 3, 12, 10\)"):
        reader.read(pictures())
    with pytest.raises(UsageError, match=r"expected a label from 0 to 9 .* a highest of 10"):
        reader.read(pictures(2, (1, 8, 8)), torch.tensor([3, 10]))
    with pytest.raises(UsageError, match="for each of 2 inputs"):
        reader.read(pictures(2, (1, 8, 8)), torch.tensor([3]))
    seen = reader.read(pictures(2, (1, 8, 8)), torch.tensor([-1, 4]))
    assert seen.labels.tolist() == [int(seen.logits[0].argmax()), 4]
