"""The checker alone: what it says of true and of false proofs, and that it shares nothing with the search."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai
from tests.robustness.verify.proofs import Proved, around, conjunction, dense, pooling, proved
from xai.errors import RefusedFileError, UsageError
from xai.models.model import Model
from xai.robustness.norms import Norm
from xai.robustness.verify import checker
from xai.robustness.verify.checker.check import Checked, State, check_proof
from xai.robustness.verify.checker.counterexample import replay
from xai.robustness.verify.checker.enclosure import Box, Enclosure, Region
from xai.robustness.verify.checker.file import BOXES, FORMAT, LEAF, WHOLE, read
from xai.robustness.verify.checker.network import Network, UncheckableError, read_network
from xai.robustness.verify.proof import packed, save
from xai.robustness.verify.property import Case, Property

Tensors = dict[str, Any]
Change = Callable[[dict[str, Any], Tensors], None]


# --- independence


def test_the_checker_imports_nothing_of_bounds_or_of_the_search() -> None:
    allowed = ("xai.errors", "xai.models.", "xai.robustness.verify.checker.", "xai.robustness.verify.property")
    for path in Path(inspect.getfile(checker)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert all(not name.startswith("xai") or name.startswith(allowed) for name in names), (path.name, names)


# --- the network


def network_of(net: nn.Module, shape: tuple[int, ...]) -> tuple[Model, Network]:
    model = xai.load(net.eval(), shape=shape, mean=0.0, std=1.0, classes=("a", "b"), output="values")
    return model, read_network(model.needed_graph(), shape)


class Mixed(nn.Module):
    """All that the checker can evaluate."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.norm.weight.data.normal_()
        self.inner = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False)
        self.last = nn.Linear(16, 6)
        self.matrix = nn.Parameter(torch.randn(6, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.leaky_relu(self.norm(self.first(x - 0.25)), 0.2)
        x = nn.functional.pad(x - torch.relu(self.inner(x)) * 2, (1, 0, 1, 0))
        x = nn.functional.avg_pool2d(x, 2).permute(0, 2, 3, 1).reshape(x.shape[0], -1)
        return -(self.last(nn.functional.dropout(x, training=self.training)) @ self.matrix) / 3


class Pooled(nn.Module):
    """Maxima of windows that overlap and leave the map, averages of windows that overlap, and of whole axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.first(nn.functional.pad(x, (1, 1, 1, 1))), 3, stride=2, padding=1)
        x = nn.functional.adaptive_avg_pool2d(torch.relu(x), (2, 2))
        return self.last(nn.functional.max_pool2d(x, (1, 2), stride=1)).mean((2, 3))


@pytest.mark.parametrize("net_class", [Mixed, Pooled])
def test_the_network_is_the_one_that_runs(net_class: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = net_class()
    model, network = network_of(net, (2, 5, 5))
    x = torch.randn(8, 2, 5, 5)
    points = x.double().flatten(1).numpy()
    enclosure = Enclosure(network, Region(Box(points, points)))
    enclosure.spread()
    box = enclosure.boxes[network.output]
    expected = net.double()(x.double()).detach().numpy()
    assert (box.upper - box.lower).max() < 1e-11
    np.testing.assert_allclose(box.lower, expected, rtol=0, atol=1e-5)
    assert model.input.shape == (2, 5, 5)


@pytest.mark.parametrize("net_class", [Mixed, Pooled])
@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.3])
def test_no_point_lies_below_a_bound(radius: float, net_class: type[nn.Module]) -> None:
    torch.manual_seed(1)
    net = net_class()
    _, network = network_of(net, (2, 5, 5))
    centre = torch.randn(50, dtype=torch.float64)
    region = Region(Box((centre - radius).numpy()[None], (centre + radius).numpy()[None]))
    enclosure = Enclosure(network, region)
    enclosure.spread()
    rows = torch.randn(5, 2, dtype=torch.float64)
    found = enclosure.lowest(network.output, rows.numpy()[None])[0]
    signs = torch.cat([torch.rand(2000, 50) * 2 - 1, torch.randint(0, 2, (2000, 50)) * 2.0 - 1]).double()
    points = centre + radius * signs
    lowest = (net.double()(points.reshape(-1, 2, 5, 5)).detach() @ rows.T).amin(0).numpy()
    assert (found <= lowest + 1e-6).all()
    close = {Mixed: 1e-3, Pooled: 2e-3}[net_class]  # a maximum's planes lie farther off
    assert (found > lowest - close).all() or radius == 0.3


@pytest.mark.parametrize(
    ("net", "operator"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Sigmoid()), "sigmoid"),
        (nn.MaxPool2d((2, 1), ceil_mode=True), "max_pool2d"),
    ],
    ids=["sigmoid", "max pool of windows that are not whole"],
)
def test_an_operator_that_is_not_known_is_named(net: nn.Module, operator: str) -> None:
    with pytest.raises(UncheckableError, match=f"cannot check: operator {operator} in layer"):
        network_of(nn.Sequential(net, nn.Flatten()), (1, 2, 2))


# --- proofs made by hand, of networks whose lowest value is known


def by_hand(model: Model, limit: float, path: Path, kind: str = BOXES, rows: Any = ((1.0, 0.0),)) -> Path:
    """Write that the first output of a network of two inputs from -1 to 1 is above a limit, in one part."""
    about = {"format": FORMAT, "fingerprint": model.fingerprint, "arithmetic": "real", "property": "by hand"}
    network = read_network(model.needed_graph(), (2,))
    about |= {"rectifiers": list(network.rectifiers), "maxima": [], "regions": ["linf"]}
    about |= {"roots": [0], "cases": [{"name": "low", "kind": kind, "region": 0, "root": 0}]}
    tensors = {
        "region.0.lower": np.array([-1.0, -1.0]),
        "region.0.upper": np.array([1.0, 1.0]),
        "case.0.rows": np.array(rows),
        "case.0.limits": np.array([limit]),
        "case.0.tree.value": np.array([LEAF], dtype=np.int16),
        "case.0.tree.number": np.array([0], dtype=np.int32),
        "case.0.tree.at": np.array([0.0]),
    }
    save(path, packed(about, tensors))
    return path


@pytest.mark.parametrize("kind", [BOXES, WHOLE])
def test_an_affine_network_is_bounded_to_the_last_digits_and_no_further(kind: str, tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    net.weight.data, net.bias.data = torch.tensor([[2.0, -3.0], [0.0, 1.0]]), torch.tensor([0.5, 0.0])
    model, _ = network_of(net, (2,))  # the lowest value is -4.5
    assert check_proof(by_hand(model, -4.5 - 1e-12, tmp_path / "a", kind), model).state is State.CHECKED
    for limit in (-4.5, float(np.nextafter(-4.5, 0))):
        assert check_proof(by_hand(model, limit, tmp_path / "a", kind), model).state is State.NOT_CHECKED
    false = check_proof(by_hand(model, -4.5 + 1e-6, tmp_path / "a", kind), model)
    assert false.state is State.WRONG
    assert "part 0 of 1 is not proved: its bound lacks 1e-06" in false.text


@pytest.mark.parametrize("kind", [BOXES, WHOLE])
@pytest.mark.parametrize("far", [1e90, 1e150, 1e308])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_overflows_proves_nothing(sign: float, far: float, kind: str, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    for layer in net[::2]:
        layer.weight.data = torch.full((2, 2), 1e6) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    model, _ = network_of(net, (2,))  # it reaches any number between those of half their size
    path = by_hand(model, -1.0, tmp_path / "a", kind, rows=[[sign, 0.0]])
    rewrite(path, setting("region.0.lower", -far))
    rewrite(path, setting("region.0.upper", far))
    assert check_proof(path, model).state is not State.CHECKED


def test_a_rectifier_is_bounded_by_its_area(tmp_path: Path) -> None:
    """|x| as relu(x) + relu(-x) is at least 0; the lines of both parts cross at 0 and say at least -1, or 0 for x."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    net[2].weight.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    model, _ = network_of(net, (2,))
    assert check_proof(by_hand(model, -1e-9, tmp_path / "a"), model).state is State.CHECKED
    assert check_proof(by_hand(model, 1e-6, tmp_path / "a"), model).state is State.WRONG
    upper = [[-1.0, 0.0]]  # the chord of both halves is 1/2 x + 1/2
    assert check_proof(by_hand(model, -1.0 - 1e-9, tmp_path / "a", rows=upper), model).state is State.CHECKED
    assert check_proof(by_hand(model, -1.0 + 1e-6, tmp_path / "a", rows=upper), model).state is State.WRONG


def test_an_operator_that_cannot_be_checked_is_never_checked(tmp_path: Path) -> None:
    linear, _ = network_of(nn.Linear(2, 2), (2,))
    curved = xai.load(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), shape=(2,), mean=0.0, std=1.0, classes=("a", "b"))
    path = by_hand(linear, -100.0, tmp_path / "a")
    rewrite(path, lambda about, _: about.update(fingerprint=curved.fingerprint))
    checked = check_proof(path, curved)
    assert checked.state is State.NOT_CHECKED
    assert "cannot check: operator tanh in layer" in checked.text


# --- proofs that were changed


def rewrite(path: Path, change: Change) -> None:
    """Change a proof as one would who knows the format: the digest is right again."""
    written = read(path)
    about, tensors = dict(written.about), {name: part.copy() for name, part in written.tensors.items()}
    change(about, tensors)
    save(path, packed(about, tensors))


@pytest.fixture(scope="module")
def few() -> Proved:
    return proved(dense(4, 0), around((4,), 0.4, 0), 0.5)


@pytest.fixture(scope="module")
def many() -> Proved:
    found = proved(dense(20, 1), around((20,), 0.3, 1), 0.5)
    assert found.outcome.by == "activation splitting"
    return found


def as_maximum(about: dict[str, Any], _: Tensors) -> None:
    about["rectifiers"], about["maxima"] = about["rectifiers"][:-1], about["rectifiers"][-1:]


@pytest.fixture(scope="module")
def pooled() -> Proved:
    found = proved(pooling(0), around((1, 8, 8), 0.1, 0), 0.7)
    assert found.outcome.by == "activation splitting"
    assert any(split.step == 0 for proof in found.outcome.proofs for leaf in proof.leaves for split in leaf.splits)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda about, _: about.update(rectifiers=about["maxima"], maxima=about["rectifiers"]),
        lambda about, _: about.update(maxima=["another"]),
        lambda about, _: about.update(rectifiers=[about["maxima"][0], *about["rectifiers"][1:]]),
    ],
    ids=["rectifiers and maxima swapped", "a maximum that is not there", "a maximum as a rectifier"],
)
def test_maxima_are_not_taken_for_rectifiers(change: Change, pooled: Proved, tmp_path: Path) -> None:
    path = pooled.written(tmp_path / "a.proof")
    assert check_proof(path, pooled.model, pooled.wanted).state is State.CHECKED
    rewrite(path, change)
    assert check_proof(path, pooled.model, pooled.wanted).state is State.WRONG


@pytest.fixture(scope="module")
def ball() -> Proved:
    return proved(dense(20, 1), around((20,), 0.9, 1, Norm.L2), 0.9)


def first_slopes(tensors: Tensors) -> str:
    return next(name for name in tensors if name.startswith("case.0.slopes."))


def collapse(about: dict[str, Any], tensors: Tensors) -> None:
    """Say of the first leaf that it is the whole region."""
    del about
    ends = tensors["case.0.tree.value"] == LEAF
    leaves = int(ends.sum())
    for name in ("value", "number", "at"):
        tensors[f"case.0.tree.{name}"] = tensors[f"case.0.tree.{name}"][ends][:1]
    for name in [name for name in tensors if name == "case.0.row" or name.startswith("case.0.slopes.")]:
        assert len(tensors[name]) == leaves
        tensors[name] = tensors[name][:1]
    if "case.0.prices" in tensors:
        tensors["case.0.prices"] = tensors["case.0.prices"][:0]


def setting(name: str, value: Any, at: Any = slice(None)) -> Change:
    def change(_: dict[str, Any], tensors: Tensors) -> None:
        tensors[name][at] = value

    return change


def adding(name: str, value: Any, at: Any = slice(None)) -> Change:
    def change(_: dict[str, Any], tensors: Tensors) -> None:
        tensors[name][at] += value

    return change


def slopes_of(value: float) -> Change:
    def change(_: dict[str, Any], tensors: Tensors) -> None:
        name = first_slopes(tensors)
        tensors[name] = np.full(tensors[name].shape, value)

    return change


def all_slopes_of(value: int) -> Change:
    def change(_: dict[str, Any], tensors: Tensors) -> None:
        for name in [name for name in tensors if ".slopes." in name]:
            tensors[name][:] = value

    return change


def without(name: str) -> Change:
    return lambda _, tensors: tensors.update({name: tensors[name][:-1]})


def renamed(about: dict[str, Any], _: Tensors) -> None:
    about["rectifiers"] = [about["rectifiers"][0], "another"]


def swapped(about: dict[str, Any], _: Tensors) -> None:
    about["rectifiers"] = about["rectifiers"][::-1]


def places_beyond(_: dict[str, Any], tensors: Tensors) -> None:
    name = first_slopes(tensors).replace("slopes", "places")
    tensors[name][-1] = 99


def certificates(key: str, value: int) -> Change:
    def change(_: dict[str, Any], tensors: Tensors) -> None:
        name = next(name for name in tensors if name.startswith("root.0.") and name.endswith(key))
        tensors[name][0] = value

    return change


CUT_CHANGES: dict[str, Change] = {
    "a slope above 1": slopes_of(1.01),
    "a slope below 0": slopes_of(-0.01),
    "other slopes": all_slopes_of(255),
    "a negative multiplier": setting("case.0.prices", -1e-3, 0),
    "larger multipliers": adding("case.0.prices", 100.0),
    "no multipliers": setting("case.0.prices", 0.0),
    "a multiplier that is missing": without("case.0.prices"),
    "a leaf for the whole": collapse,
    "a threshold that was moved": adding("case.0.tree.at", 5.0, 0),
    "a number that is not there": setting("case.0.tree.number", 99, 0),
    "another number": adding("case.0.tree.number", 1, 0),
    "a value that is not there": setting("case.0.tree.value", 7, 0),
    "a cut of the input": setting("case.0.tree.value", 0, 0),
    "a row that is not there": setting("case.0.row", 4, 0),
    "a row that is missing": without("case.0.row"),
    "slopes of numbers that are not there": places_beyond,
    "a higher limit": adding("case.0.limits", 1.0),
    "other rows": setting("case.0.rows", 1.0),
    "a larger region": adding("region.0.upper", 0.5),
    "another network": lambda about, _: about.update(fingerprint="0" * 64),
    "a rectifier that is not there": renamed,
    "a rectifier as a maximum": as_maximum,
    "rectifiers that were swapped": swapped,
    "a bound of a number that is not there": certificates("numbers", 99),
    "a bound from no side": certificates("signs", 0),
}


@pytest.mark.parametrize("change", CUT_CHANGES.values(), ids=CUT_CHANGES)
def test_a_changed_proof_of_cuts_is_wrong(change: Change, many: Proved, tmp_path: Path) -> None:
    path = many.written(tmp_path / "a.proof")
    rewrite(path, change)
    assert check_proof(path, many.model).state is State.WRONG


BOX_CHANGES: dict[str, Change] = {
    "a leaf for the whole": collapse,
    "a threshold that was moved": adding("case.0.tree.at", 5.0, 0),
    "a number that is not there": setting("case.0.tree.number", 4, 0),
    "a cut of a rectifier": setting("case.0.tree.value", 1, 0),
    "a higher limit": adding("case.0.limits", 1.0),
    "a larger region": adding("region.0.lower", -0.5),
    "another network": lambda about, _: about.update(fingerprint=""),
    "a ball": lambda about, tensors: (
        about.update(regions=["l2"]),
        tensors.update({"region.0.centre": tensors["region.0.lower"], "region.0.radius": np.array([0.1])}),
    )[0],
}


@pytest.mark.parametrize("change", BOX_CHANGES.values(), ids=BOX_CHANGES)
def test_a_changed_proof_of_boxes_is_wrong(change: Change, few: Proved, tmp_path: Path) -> None:
    path = few.written(tmp_path / "a.proof")
    rewrite(path, change)
    assert check_proof(path, few.model).state is State.WRONG


PROPERTY_CHANGES: dict[str, Change] = {
    "a smaller region": adding("region.0.upper", -1e-12),
    "a lower limit": adding("case.0.limits", -1e-12),
    "easier rows": lambda _, tensors: tensors.update(
        {"case.0.rows": tensors["case.0.rows"] / 2, "case.0.limits": tensors["case.0.limits"] / 2 - 1}
    ),
}


@pytest.mark.parametrize("change", PROPERTY_CHANGES.values(), ids=PROPERTY_CHANGES)
def test_a_proof_of_another_property_is_wrong_beside_the_right_one(
    change: Change, many: Proved, tmp_path: Path
) -> None:
    path = many.written(tmp_path / "a.proof")
    assert check_proof(path, many.model, many.wanted).state is State.CHECKED
    rewrite(path, change)
    assert check_proof(path, many.model, many.wanted).state is State.WRONG


@pytest.mark.parametrize("name", ["region.0.radius", "region.0.centre"])
def test_a_moved_ball_is_wrong_beside_the_right_one(name: str, ball: Proved, tmp_path: Path) -> None:
    path = ball.written(tmp_path / "a.proof")
    assert check_proof(path, ball.model, ball.wanted).state is State.CHECKED
    rewrite(path, adding(name, -1e-9))
    assert check_proof(path, ball.model, ball.wanted).state is State.WRONG
    rewrite(path, adding("region.0.radius", 3.0))
    assert check_proof(path, ball.model).state is State.WRONG


def test_a_case_that_was_taken_out_is_missed(tmp_path: Path) -> None:
    found = proved(dense(4, 0), around((4,), 0.4, 0), 0.7, cases=2)
    path = found.written(tmp_path / "a.proof")
    assert check_proof(path, found.model, found.wanted).state is State.CHECKED
    rewrite(path, lambda about, _: about.update(cases=about["cases"][:1]))
    checked = check_proof(path, found.model, found.wanted)
    assert checked.state is State.WRONG
    assert "expected a proof of 2 cases, received one of 1" in checked.text


def test_a_network_with_other_weights_is_found_whatever_its_fingerprint_says(many: Proved, tmp_path: Path) -> None:
    path = many.written(tmp_path / "a.proof")
    other = proved(dense(20, 5), around((20,), 0.3, 1), 1.001).model
    assert "written for another network" in check_proof(path, other).text
    rewrite(path, lambda about, _: about.update(fingerprint=other.fingerprint))
    assert check_proof(path, other).state is State.WRONG


@pytest.fixture(scope="module")
def both() -> Proved:
    found = conjunction(1, 0.1)
    assert found.outcome.verdict.value == "holds"
    return found


@pytest.mark.parametrize(
    "change",
    [
        setting("case.0.mixtures", -1, 0),
        setting("case.0.mixtures", 0),
        setting("case.0.row", 0),
        without("case.0.mixtures"),
        lambda _, tensors: tensors.__delitem__("case.0.mixtures"),
        lambda _, tensors: tensors.update({"case.0.mixtures": tensors["case.0.mixtures"][:, ::-1]}),
        lambda _, tensors: tensors.update({"case.0.mixtures": tensors["case.0.mixtures"][:, :1]}),
    ],
    ids=["below 0", "nothing", "one row", "too few", "none", "in another order", "of fewer rows"],
)
def test_other_mixtures_of_rows_prove_nothing(change: Change, both: Proved, tmp_path: Path) -> None:
    path = both.written(tmp_path / "a.proof")
    assert check_proof(path, both.model, both.wanted).state is State.CHECKED
    rewrite(path, change)
    assert check_proof(path, both.model, both.wanted).state is not State.CHECKED


# --- files that are no proofs


def of_tree(change: Callable[[Any], Any]) -> Change:
    def changed(_: dict[str, Any], tensors: Tensors) -> None:
        for name in ("value", "number", "at"):
            tensors[f"case.0.tree.{name}"] = change(tensors[f"case.0.tree.{name}"])

    return changed


REFUSED: dict[str, Change] = {
    "a leaf that was taken out": of_tree(lambda part: part[:-1]),
    "parts after the last leaf": of_tree(lambda part: np.append(part, part)),
    "a bound that is no number": setting("case.0.limits", np.nan),
    "an end that is infinite": setting("region.0.upper", np.inf, 0),
    "a region inside out": adding("region.0.upper", -9.0),
    "a threshold that is no number": setting("case.0.tree.at", np.nan, 0),
    "a region that is not there": lambda about, _: about["cases"][0].update(region=3),
    "no cases": lambda about, _: about.update(cases=[]),
    "another format": lambda about, _: about.update(format=2),
    "no limits": lambda _, tensors: tensors.pop("case.0.limits") and None,
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_is_no_proof_is_refused(change: Change, many: Proved, tmp_path: Path) -> None:
    path = many.written(tmp_path / "a.proof")
    rewrite(path, change)
    with pytest.raises(RefusedFileError, match=r"proof .*expected"):
        check_proof(path, many.model)


def test_every_changed_byte_is_found(few: Proved, tmp_path: Path) -> None:
    path = few.written(tmp_path / "a.proof")
    content = path.read_bytes()
    for place in range(9, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RefusedFileError, match="proof"):
            check_proof(path, few.model)
    for size in (0, 7, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(RefusedFileError, match="proof"):
            check_proof(path, few.model)


def test_a_proof_that_is_not_there_is_a_usage_error(few: Proved, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        check_proof(tmp_path / "a.proof", few.model)


# --- counterexamples


def linear_case(limit: float, norm: Norm = Norm.LINF, radius: float = 1.0) -> Property:
    region = around((2,), 1.0, 0, norm)
    zero = torch.zeros_like(region.centre)
    box = dataclasses.replace(region.box, lower=zero - 1, upper=zero + 1)
    size = None if norm is Norm.LINF else torch.tensor([radius], dtype=torch.float64)
    region = dataclasses.replace(region, box=box, centre=zero, radius=size)
    rows = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    return Property((Case(region, rows, torch.tensor([limit], dtype=torch.float64), "low"),))


@pytest.fixture(scope="module")
def linear() -> Model:
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, 0.25], [0.0, 1.0]])
    return network_of(net, (2,))[0]


def test_a_counterexample_is_confirmed_to_the_last_bit(linear: Model) -> None:
    x = torch.tensor([-1.0, -1.0])  # gives -1.25
    assert replay(linear, x, linear_case(-1.25)).confirmed
    missed = replay(linear, x, linear_case(float(np.nextafter(-1.25, -2))))
    assert not missed.confirmed
    assert "do not violate" in missed.reason
    outside = replay(
        linear, torch.tensor([-1.0, float(np.nextafter(np.float32(-1), np.float32(-2)))]), linear_case(0.0)
    )
    assert outside.reason == "the input lies in no region of the property"


@pytest.mark.parametrize(("norm", "radius"), [(Norm.L1, 0.75), (Norm.L2, 0.5590169943749475)])
def test_a_counterexample_in_a_ball_is_within_its_radius_exactly(linear: Model, norm: Norm, radius: float) -> None:
    x = torch.tensor([-0.5, -0.25])
    assert replay(linear, x, linear_case(0.0, norm, float(np.nextafter(radius, 1)))).confirmed
    assert not replay(linear, x, linear_case(0.0, norm, float(np.nextafter(radius, 0)))).confirmed


def test_a_counterexample_needs_the_words_of_the_file_too(linear: Model) -> None:
    x = torch.tensor([-1.0, -1.0])
    assert not replay(linear, x, linear_case(-1.0), lambda *_: False).confirmed
    assert replay(
        linear, x, linear_case(-1.0), lambda x, y: list(x) == [-1.0, -1.0] and next(iter(y)) == -1.25
    ).confirmed


def test_a_counterexample_of_an_onnx_file_is_asked_of_onnxruntime(linear: Model, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    torch.onnx.export(
        nn.Sequential(nn.Linear(2, 2)).eval(),
        (torch.zeros(1, 2),),
        str(path),
        input_names=["x"],
        dynamo=True,
        verbose=False,
    )
    model = xai.load(path, output="values")
    found = replay(model, torch.tensor([0.5, 0.5]), linear_case(100.0))
    assert found.confirmed
    assert found.by.startswith("onnxruntime")
    assert replay(linear, torch.tensor([0.5, 0.5]), linear_case(100.0)).by == "the model"


def test_a_result_reads_as_one_line(many: Proved, tmp_path: Path) -> None:
    checked: Checked = check_proof(many.written(tmp_path / "a.proof"), many.model, many.wanted)
    parts = checked.cases[0].leaves
    assert checked.text == f"checked: 1 case, {parts} parts; about the network in real numbers"
