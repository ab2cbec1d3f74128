"""A network for other classes: its head is fresh, all before it is what it was, and what is frozen stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import fx, nn

import xai
from tests.networks import Branching, Linear, Small, seeded
from xai.errors import UsageError
from xai.models.architectures import build
from xai.models.model import Model
from xai.models.samples.digits import split
from xai.models.trainable import trainable
from xai.models.transfer import frozen_but, rest_frozen, with_head

SHAPE = (3, 16, 16)
NAMES = ("cat", "dog", "owl")


class Wired(nn.Module):
    """Layers of other numbers of outputs before and beside what decides."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.tied = nn.Linear(8, 8)
        self.head = nn.Linear(8, 8)
        self.beside = nn.Linear(4, 8)
        self.scale = nn.Parameter(torch.ones(8))
        self.kind = kind
        if kind == "tied":
            self.head.weight = self.tied.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.head(torch.relu(self.tied(torch.relu(self.first(x)))))
        if self.kind == "softmax":
            return outputs.softmax(1)
        if self.kind == "beside":
            return outputs + self.beside(x)
        if self.kind == "scaled":
            return outputs * self.scale
        if self.kind == "more":
            return torch.cat((outputs, x.mean(1, keepdim=True)), 1)
        return outputs


class Convolved(nn.Module):
    """Classes come of a convolution that is followed by an average."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.head(torch.relu(self.body(x)))).mean((2, 3))


class OneUnit(Small):
    """One output, for a class and against another."""

    def __init__(self) -> None:
        super().__init__(classes=1)


class Wayward(nn.Module):
    """Its data decide which way it goes: it has modules and no graph."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(Small)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) if x.sum() > 0 else self.inner(-x)


def weights(network: nn.Module | None) -> dict[str, torch.Tensor]:
    assert network is not None
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def wired(kind: str) -> Model:
    return xai.load(seeded(lambda: Wired(kind)), shape=(4,))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def resnet() -> Model:
    return xai.load("torchvision:resnet18(weights=None, num_classes=4)", shape=(3, 32, 32))


def test_all_before_the_head_is_kept_and_the_parent_untouched(digits: Model) -> None:
    x, before, fingerprint = noise(2, 1, 8, 8), weights(digits.network), digits.fingerprint
    outputs = digits(x)
    other = with_head(digits, NAMES)
    after = weights(other.network)
    assert {name for name in after if not name.startswith("head.")} == before.keys() - {"head.weight", "head.bias"}
    assert all(torch.equal(after[name], before[name]) for name in after if not name.startswith("head."))
    assert after["head.weight"].shape == (3, 48)
    assert other(x).shape == (2, 3)
    assert same(weights(digits.network), before)
    assert digits.fingerprint == fingerprint
    assert torch.equal(digits(x), outputs)
    with torch.no_grad():
        trainable(other).own.get_parameter("features.0.weight").zero_()
        other.needed_graph()
    assert same(weights(digits.network), before)


def test_the_card_has_the_new_classes_and_drops_what_was_said_of_the_old_ones(digits: Model) -> None:
    other = with_head(digits, NAMES)
    assert digits.card.measured
    assert (other.card.measured, other.card.description, other.card.lineage) == ({}, "", None)
    assert other.classes == NAMES
    assert other.card.output == "logits"
    assert other.input == digits.input
    assert other.assumed == ("the head is fresh (seed 0): it has learnt nothing of its classes",)


def test_what_was_assumed_of_the_old_classes_is_not_said_of_the_new_ones() -> None:
    old = xai.load(seeded(Small), shape=SHAPE)
    assert any("classes have no names" in line for line in old.assumed)
    other = with_head(old, NAMES)
    assert any("mean and std of the input are not declared" in line for line in other.assumed)
    assert not any("classes have no names" in line for line in other.assumed)
    assert "classes" not in other.guessed
    assert "input.mean" in other.guessed


def test_fresh_weights_follow_from_the_seed_and_leave_the_generator_alone(digits: Model) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, again, another = (with_head(digits, NAMES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert same(weights(first.network), weights(again.network))
    assert not torch.equal(weights(first.network)["head.weight"], weights(another.network)["head.weight"])


@pytest.mark.parametrize(("source", "wanted"), [("digits", "sample:digits(3)"), ("shapes", "sample:shapes(3)")])
def test_the_architecture_names_the_network_and_its_weights_fit_it(
    source: str, wanted: str, request: pytest.FixtureRequest
) -> None:
    other = with_head(request.getfixturevalue(source), NAMES)
    assert other.architecture == other.card.architecture == wanted
    built = build(wanted).network
    built.load_state_dict(weights(other.network))


def test_a_network_of_a_library_is_named_with_its_number_of_classes(resnet: Model, tmp_path: Path) -> None:
    other = with_head(resnet, NAMES)
    assert other.architecture == "torchvision:resnet18(num_classes=3)"
    torch.save(weights(other.network), tmp_path / "net.pt")
    opened = xai.load(tmp_path / "net.pt", arch=other.architecture, shape=(3, 32, 32), classes=NAMES)
    x = noise(2, 3, 32, 32)
    torch.testing.assert_close(opened(x), other(x))


def test_no_architecture_is_named_that_computes_something_else(resnet: Model) -> None:
    network = resnet.network
    assert isinstance(network, nn.Module)
    changed = build("torchvision:resnet18(num_classes=4)").network
    changed.relu = nn.GELU()  # type: ignore[assignment]  # the state dict is the same, the network is not
    opened = xai.load(changed, shape=(3, 32, 32))
    disguised = Model(**{**vars(opened), "architecture": resnet.architecture})
    assert with_head(disguised, NAMES).architecture == ""
    assert with_head(opened, NAMES).architecture == ""


@pytest.mark.parametrize("kind", ["plain", "tied", "softmax"])
def test_the_layer_that_decides_is_found_among_others_as_wide(kind: str) -> None:
    old = wired(kind)
    other = with_head(old, NAMES)
    before, after = weights(old.network), weights(other.network)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"head.weight", "head.bias"}
    assert other(noise(5, 4)).shape == (5, 3)
    assert other.card.output == ("probabilities" if kind == "softmax" else "logits")


def test_as_many_classes_as_before_still_get_a_fresh_head(digits: Model) -> None:
    other = with_head(digits, [f"letter {name}" for name in digits.classes])
    assert not torch.equal(weights(other.network)["head.weight"], weights(digits.network)["head.weight"])


def test_a_layer_that_only_derives_of_a_linear_one_is_not_exchanged_for_a_plain_one() -> None:
    class Cosine(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.normalize(x) @ nn.functional.normalize(self.weight).T

    with pytest.raises(UsageError, match="0 of its layers have 4 outputs"):
        with_head(xai.load(seeded(lambda: Cosine(6, 4)), shape=(6,)), NAMES)


def test_the_call_that_made_it_is_known(digits: Model) -> None:
    other = xai.with_head(digits, NAMES, seed=2)
    assert other.call == "xai.with_head(xai.load('sample:digits'), ['cat', 'dog', 'owl'], seed=2)"
    again = eval(other.call, {"xai": xai})
    assert again.fingerprint == other.fingerprint


@pytest.mark.parametrize("kind", ["beside", "scaled", "more"])
def test_outputs_that_do_not_come_of_one_last_layer_alone_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=r"expected a network whose \d outputs come of one last .* received Wired"):
        with_head(wired(kind), NAMES)


def test_a_head_beside_which_something_is_added_is_refused_though_the_sizes_fit() -> None:
    class Beside(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + x.mean((1, 2, 3))[:, None]

    with pytest.raises(UsageError, match="of none alone they come"):
        with_head(xai.load(seeded(Beside), shape=SHAPE), NAMES)


@pytest.mark.parametrize(
    ("network", "name"), [(Convolved, "head.weight"), (OneUnit, "head.weight"), (Wayward, "inner.head.weight")]
)
def test_convolutions_single_outputs_and_networks_without_a_graph_get_a_head(
    network: type[nn.Module], name: str
) -> None:
    other = with_head(xai.load(seeded(network), shape=SHAPE), NAMES)
    assert other(noise(5, *SHAPE)).shape == (5, 3)
    assert len(weights(other.network)[name]) == 3


def test_a_network_that_is_one_layer_gets_another_one() -> None:
    other = with_head(xai.load(seeded(lambda: nn.Linear(4, 2)), shape=(4,)), NAMES)
    assert other(noise(5, 4)).shape == (5, 3)


def test_what_has_no_layers_is_refused_with_what_to_do(digits: Model, tmp_path: Path) -> None:
    xai.export(digits, tmp_path / "digits.onnx")
    scripted = torch.jit.trace(seeded(Small), torch.zeros(1, *SHAPE), check_trace=False)
    for model, kind in (
        (xai.load(tmp_path / "digits.onnx"), r"a program without layers \(ONNX\)"),
        (xai.load(scripted, shape=SHAPE), "a program without layers"),
        (xai.load(lambda batch: batch.flatten(1)[:, :3], shape=SHAPE), "a black box"),
    ):
        with pytest.raises(UsageError, match=f"received {kind}.*open the network's module"):
            with_head(model, NAMES)
    with pytest.raises(UsageError, match="received a graph whose modules are not known"):
        with_head(trainable(digits).evaluated, NAMES)
    with pytest.raises(UsageError, match="received Linear: 0 of its layers have 3 outputs"):
        with_head(xai.load(Linear(), shape=(3, 12, 10)), NAMES)
    with pytest.raises(UsageError, match="received Branching"):
        with_head(xai.load(Branching(), shape=(3, 12, 10)), NAMES)


@pytest.mark.parametrize("classes", ["ab", [], ["one"], ["twice", "twice"], ["", "b"]])
def test_names_that_are_no_classes_are_refused(digits: Model, classes: list[str]) -> None:
    with pytest.raises(UsageError, match="classes: expected two or more different names"):
        with_head(digits, classes)


def test_what_a_file_brings_as_a_program_has_weights_to_train_all_the_same(digits: Model, tmp_path: Path) -> None:
    xai.export(digits, tmp_path / "digits.onnx")
    learnt = trainable(xai.load(tmp_path / "digits.onnx"))
    assert sorted(one.numel() for one in learnt.learnt.values())[-1] == 48 * 48 * 9
    assert learnt.notes


def test_a_traced_module_keeps_its_layers_and_gets_a_head() -> None:
    traced = fx.symbolic_trace(seeded(Small))
    assert with_head(xai.load(traced, shape=SHAPE), NAMES)(noise(2, *SHAPE)).shape == (2, 3)


def test_only_named_layers_learn(digits: Model) -> None:
    network = trainable(digits).own
    assert frozen_but(network, ["head"]) == ["head.weight", "head.bias"]
    assert frozen_but(network, ["features.1", "head"]) == [
        "features.1.weight",
        "features.1.bias",
        "head.weight",
        "head.bias",
    ]
    assert {name for name, one in network.named_parameters() if one.requires_grad} == {
        "features.1.weight",
        "features.1.bias",
        "head.weight",
        "head.bias",
    }


def test_a_layers_name_is_no_beginning_of_anothers(digits: Model) -> None:
    network = trainable(digits).own
    assert not any(name.startswith("features.10") for name in frozen_but(network, ["features.1"]))


def test_a_layer_that_cannot_learn_is_refused_and_nothing_is_frozen(digits: Model) -> None:
    network = trainable(digits).own
    for layers, message in (
        (["head", "haed"], "there is no layer 'haed'; did you mean 'head'"),
        (["pool"], "layer 'pool' has no weights that could learn; name others, such as .*head"),
        ([], "expected a list of one or more layers"),
        ("head", "expected a list of one or more layers"),
    ):
        with pytest.raises(UsageError, match=message):
            frozen_but(network, layers)
    assert all(one.requires_grad for one in network.parameters())


def test_a_tied_weight_learns_if_any_of_its_layers_is_named() -> None:
    network = seeded(lambda: Wired("tied"))
    assert frozen_but(network, ["head"]) == ["tied.weight", "head.bias"]


def steps(network: nn.Module, x: torch.Tensor, labels: torch.Tensor, *, resting: bool) -> None:
    learning = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=0.1)
    for _ in range(3):
        network.train()
        if resting:
            rest_frozen(network)
        learning.zero_grad()
        nn.functional.cross_entropy(network(x), labels).backward()
        learning.step()


def test_frozen_layers_and_their_running_figures_stay_while_the_head_learns(digits: Model) -> None:
    shown = split()[0]
    for resting in (True, False):
        network = trainable(digits).own
        before = weights(network)
        frozen_but(network, ["head"])
        steps(network, shown.images[:32], shown.labels[:32], resting=resting)
        changed = {name for name, tensor in weights(network).items() if not torch.equal(tensor, before[name])}
        figures = {name for name in before if "running" in name or "tracked" in name}
        assert changed == {"head.weight", "head.bias"} | (set() if resting else figures)


def test_a_normalisation_without_weights_rests_with_the_layer_before_it() -> None:
    network = nn.Sequential(
        nn.BatchNorm1d(4, affine=False),
        nn.Linear(4, 4),
        nn.BatchNorm1d(4, affine=False),
        nn.Linear(4, 4),
        nn.BatchNorm1d(4, affine=False),
        nn.BatchNorm1d(4),
    )
    frozen_but(network, ["3", "5"])
    network.train()
    rest_frozen(network)
    assert [part.training for part in network] == [False, True, False, True, True, True]


def test_nothing_rests_in_a_network_that_learns_as_a_whole(digits: Model) -> None:
    network = trainable(digits).own.train()
    rest_frozen(network)
    assert all(module.training for module in network.modules())


def test_a_head_on_frozen_layers_learns_the_digits_again(digits: Model) -> None:
    learnt = trainable(xai.with_head(digits, [f"digit {name}" for name in digits.classes]))
    known, test = split()
    frozen_but(learnt.own, ["head"])
    learning = torch.optim.Adam(learnt.own.get_submodule("head").parameters(), lr=0.05)
    for _ in range(60):
        learnt.own.train()
        rest_frozen(learnt.own)
        learning.zero_grad()
        nn.functional.cross_entropy(learnt.scores(known.images[:300]), known.labels[:300]).backward()
        learning.step()
    right = learnt.evaluated(test.images).argmax(1) == test.labels
    assert float(right.float().mean()) > 0.95
