"""A look inside a model: activations and gradients against a plain module's, costs, and what can be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.test_graph import Transformer
from tests.networks import Branching, Linear, Mlp, Small, seeded
from xai.api import inspect, load
from xai.errors import AnalysisError, UsageError
from xai.explainers.base import ChannelVisualizer, LayerAttributor, explainers
from xai.measures.base import measures
from xai.models.model import Model
from xai.registry import Need
from xai.reports.figures import strongest
from xai.robustness.attacks.base import attacks
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.corruptions.base import corruptions
from xai.robustness.ood.detectors.base import detectors

MEAN = torch.tensor((0.4, 0.5, 0.6)).view(3, 1, 1)


class Silent(nn.Module):
    """Its second channel never speaks, and its third only where the picture is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Linear(3, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([0.0, -1.0, -0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("layer", ["stem", "again@1", "act", "pool", "head"])
def test_activation_and_gradient_are_the_modules_own(small: Model, noise: torch.Tensor, layer: str) -> None:
    network, kept = seeded(Small), []

    def keep(_: nn.Module, __: object, value: torch.Tensor) -> torch.Tensor:
        value.retain_grad()
        kept.append(value)
        return value.clone()  # the activation behind it works in place

    name, _, use = layer.partition("@")
    network.get_submodule(name).register_forward_hook(keep)
    outputs = network((noise[None] - MEAN) / 0.25)
    outputs[0, 2].backward()
    expected = kept[int(use or 0)]
    found = inspect(small, noise, layer, target=2)["activation"]
    shape = expected.shape[1:] if layer not in ("pool", "head") else (expected.numel(),)
    assert found.activation.shape == shape
    np.testing.assert_allclose(found.activation, expected.detach().numpy().reshape(shape), atol=1e-5)
    np.testing.assert_allclose(found.gradient, expected.grad.numpy().reshape(shape), atol=1e-5)


def test_the_default_is_the_spatial_layer_and_the_predicted_class(small: Model, noise: torch.Tensor) -> None:
    found = inspect(small, noise)["activation"].record
    assert found.parameters["layer"] == small.spatial_layer.name
    assert found.target is not None
    assert found.target.index == int(small(noise[None]).argmax())


def test_silent_channels_are_counted() -> None:
    model = load(Silent(), shape=(1, 4, 4))
    dim, bright = inspect(model, [torch.full((1, 4, 4), 0.25), torch.full((1, 4, 4), 0.75)], "act")
    assert dim.record.values["dead"].value == 2
    assert bright.record.values["dead"].value == 1
    assert bright.record.values["channels"].value == 3
    assert bright.record.values["strongest"].value == 0
    assert strongest(bright.activation).tolist() == [0, 2, 1]


def test_strength_is_the_mean_size_whatever_the_sign() -> None:
    values = np.array([[[1.0, 1.0]], [[-3.0, 0.0]], [[0.5, 0.5]], [[1.0, 1.0]]])
    assert strongest(values).tolist() == [1, 0, 3, 2]


def test_tokens_are_put_on_their_grid_and_the_others_said() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load(Transformer(2).eval(), shape=(3, 12, 20))
    x = torch.rand((3, 12, 20), generator=torch.Generator().manual_seed(0))
    found = inspect(model, x, "norm")["activation"]
    assert found.activation.shape == (8, 3, 5)
    assert found.record.notes == ("Left out before the grid: 2 class or register tokens.",)
    whole = model.activation(x[None], model.layer("norm"))[0].detach().numpy()
    np.testing.assert_array_equal(found.activation[:, 1, 2], whole[2 + 5 + 2])


def test_a_layer_that_the_target_does_not_hear_is_said() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.one(x).mean((2, 3)), self.other(x).mean((2, 3))], dim=1)

    model = load(Deaf(), shape=(3, 8, 8))
    found = inspect(model, torch.full((3, 8, 8), 0.5), "one", target=3)["activation"]
    assert not found.gradient.any()
    assert any("no small change of this layer moves the output for class 3" in note for note in found.record.notes)


def test_a_black_box_shows_nothing_inside_and_says_why() -> None:
    model = load(Branching(), shape=(3, 12, 10))
    run = inspect(model, torch.full((3, 12, 10), 0.5), layer="anything")
    assert run.findings[0].status == "skipped"
    assert "black box" in run.findings[0].reason
    with pytest.raises(AnalysisError, match="was skipped"):
        _ = run["activation"].activation
    known = run.record.model
    assert (known.blocks, known.layers, known.multiply_adds, known.weight_bytes) == ((), (), None, None)
    assert known.no_spatial_layer.startswith("the model is a black box")


def test_names_that_do_not_exist_are_told_with_near_ones(small: Model, noise: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="there is no layer 'sten'; did you mean 'stem'"):
        inspect(small, noise, "sten")
    with pytest.raises(UsageError, match="class"):
        inspect(small, noise, target="zebra")
    with pytest.raises(UsageError, match="no picture whose activations could be shown"):
        inspect(small, layer="stem")


def test_no_layer_to_default_to_is_a_reason(linear: Model) -> None:
    finding = inspect(load(Mlp(), shape=(3, 12, 10)), torch.rand(3, 12, 10)).findings[0]
    assert (finding.status, "rows and columns" in finding.reason) == ("skipped", True)


def test_the_record_tells_what_the_network_costs(small: Model) -> None:
    record = inspect(small).record.model
    conv = {"stem": 16 * 16 * 8 * 3 * 9, "again": 16 * 16 * 8 * 8 * 9, "again@1": 16 * 16 * 8 * 8 * 9, "head": 8 * 4}
    assert {layer.name: layer.multiply_adds for layer in record.layers if layer.multiply_adds} == conv
    assert record.multiply_adds == sum(conv.values())
    read = [tensor.numel() for name, tensor in Small().state_dict().items() if "num_batches" not in name]
    assert record.weight_bytes == 4 * (sum(read) + 3 + 1), "with three means and a deviation"
    assert record.activation_bytes == small.bytes_per_input
    assert record.elsewhere == (0, 0)
    assert record.guessed == dict(small.guessed)


def test_what_no_listed_layer_does_is_told() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Owner()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.flatten(1))

    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.weight = nn.ReLU(), nn.Parameter(torch.randn(12, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(x) @ self.weight

    record = inspect(load(Bare(), shape=(3, 2, 2))).record.model
    assert record.elsewhere == (24, 24)


def test_every_method_and_measure_is_said_to_run_or_why_not(small: Model) -> None:
    def told(model: Model) -> dict[str, str]:
        return {one.method: one.reason for one in inspect(model).record.model.analyses}

    families = (explainers, measures, attacks, corruptions, bounders, detectors)
    everything = {"smoothing", *(name for family in families for name in family.all())}
    whole = told(small)
    assert set(whole) == everything
    unruled = {name for name, reason in whole.items() if reason and "no attention" not in reason}
    assert unruled <= set(bounders.all()), "some operators have no rule"
    flat = told(load(Mlp(), shape=(3, 12, 10)))
    assert set(flat) == everything
    layered = {name for name, cls in explainers.all().items() if issubclass(cls, LayerAttributor | ChannelVisualizer)}
    assert {name for name, reason in flat.items() if "rows and columns" in reason} == layered
    box = told(load(Branching(), shape=(3, 12, 10)))
    assert {name for name, reason in box.items() if "black box" in reason} == {
        name
        for family in (explainers, measures, attacks, bounders, detectors)
        for name, cls in family.all().items()
        if cls.about.needs & {Need.GRADIENTS, Need.GRAPH}
    }
    rows = told(load(nn.Linear(7, 2), shape=(7,), range=(0, 1)))
    assert all("inputs of shape (7,)" in rows[name] for family in (explainers, measures) for name in family.all())
    assert {rows[name] for name in bounders.all()} == {""}
    assert {name for name in attacks.all() if rows[name]} == {"apgd-dlr", "apgd-t"}
    assert "needs at least 4 classes; the model has 2" in rows["apgd-t"]
    assert "it happens to pictures" in rows["fog"]
    values = told(load(nn.Linear(7, 2), shape=(7,), output="values"))
    assert all("there is no wrong answer" in values[name] for name in attacks.all())
    assert {values[name] for name in bounders.all()} == {""}
    assert "no most frequent answer" in values["smoothing"]


def test_inputs_that_are_no_pictures_are_looked_into_as_well() -> None:
    model = load(nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2)), shape=(7,))
    run = inspect(model, torch.rand(7), "0")
    assert run["activation"].activation.shape == (5,)


def test_looking_changes_nothing(small: Model, noise: torch.Tensor) -> None:
    before, state = small(noise[None]), torch.random.get_rng_state()
    fingerprint = small.graph.fingerprint
    inspect(small, noise, "stem")
    assert torch.equal(small(noise[None]), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert small.graph.fingerprint == fingerprint


def test_the_same_is_found_twice(noise: torch.Tensor) -> None:
    model = load(Linear((3, 16, 16)), shape=(3, 16, 16))
    one, other = (inspect(model, noise, "einsum").findings[0].timeless() for _ in range(2))
    assert one == other
