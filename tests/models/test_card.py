"""The card: its schema, a first one that is honest about guesses, and one that contradicts the network."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.models.onnx.test_networks import exported
from tests.networks import Linear, Mlp, Small, seeded
from tests.reports.test_page import HOSTILE
from xai.api import load
from xai.errors import RefusedFileError, UsageError
from xai.models.architectures import build
from xai.models.card import Card, Input, read_card
from xai.models.draft import card_place, draft, write_card
from xai.models.model import Model
from xai.models.schema import FILE, text

SHAPE = (3, 12, 10)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A TorchScript file without a card: 3 classes of inputs (3, 12, 10)."""
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(Linear().eval(), torch.rand(1, *SHAPE)), path)
    return path


def test_the_shipped_schema_is_the_cards(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        FILE.write_text(text(), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text(), "run pytest --update-golden and look at the difference"
    jsonschema.Draft202012Validator.check_schema(json.loads(FILE.read_text()))


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"input": {"shape": [3, 8, 8], "mean": 0.5, "std": [0.1, 0.2, 0.3], "range": None}}, True),
        ({"classes": ["a"], "output": "values", "measured": {"accuracy": 0.9}}, True),
        ({"input": {"mean": 0.5}}, True),
        ({"input": {"mean": [0.1, 0.2, 0.3, 0.4]}}, True),
        ({"input": {"mena": 0.5}}, False),
        ({"input": {"shape": [3.0, 4, 4]}}, True),
        ({"input": {"shape": [3.5, 4, 4]}}, False),
        ({"input": {"shape": ["3", 4, 4]}}, False),
        ({"input": {"shape": [True, 4, 4]}}, False),
        ({"input": {"shape": [0]}}, False),
        ({"input": {"mean": "0.5"}}, False),
        ({"input": {"mean": ["0.5"]}}, False),
        ({"input": {"mean": True}}, False),
        ({"input": {"mean": []}}, False),
        ({"input": {"std": 0}}, False),
        ({"input": {"std": [1, -1, 1]}}, False),
        ({"input": {"crop_fraction": "0.5"}}, False),
        ({"input": {"range": ["0", 1]}}, False),
        ({"measured": {"pruned": True}}, False),
        ({"architecture": "net.py:make"}, False),
        ({"architecture": "timm:resnet18"}, True),
        ({"output": "scores"}, False),
        ({"clases": ["a"]}, False),
    ],
)
def test_schema_and_reader_agree(fields: dict[str, Any], fits: bool, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(fields))
    assert jsonschema.Draft202012Validator(json.loads(text())).is_valid(fields) == fits
    if fits:
        assert read_card(path) == fields
    else:
        with pytest.raises(RefusedFileError, match=f"card {path} does not fit"):
            read_card(path)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("classes: [a]\nclasses: [b]", "'classes' stands in it twice"),
        ("input: {shape: [3, 4, 4], mean: 0, mean: 1}", "'mean' stands in it twice"),
        ("measured: {accuracy: .nan}", "measured.accuracy"),
        ("input: {std: -1}", "input: std: expected positive numbers"),
    ],
)
def test_a_card_that_cannot_be_meant_is_refused(tmp_path: Path, written: str, told: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(written)
    with pytest.raises(RefusedFileError, match=told):
        read_card(path)


def test_a_card_may_leave_the_shape_to_the_file(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    exported(network, (3, 4, 4), tmp_path / "net.onnx", "old")
    card = tmp_path / "net.yaml"
    card.write_text("input: {mean: [0.1, 0.2, 0.3], std: 0.5, range: [0, 1]}")
    model = load(tmp_path / "net.onnx")
    assert (model.input.shape, model.input.mean, model.input.std) == ((3, 4, 4), (0.1, 0.2, 0.3), (0.5,))
    card.write_text("input: {mean: [0.1, 0.2, 0.3, 0.4]}")
    with pytest.raises(RefusedFileError, match=r"net.yaml: input.mean does not fit .* or 3 numbers, received 4"):
        load(tmp_path / "net.onnx")


def test_classes_of_one_name_are_asked_for_by_their_number() -> None:
    model = load(seeded(Linear), shape=SHAPE, classes=("crane", "heron", "crane"))
    with pytest.raises(UsageError, match=r"2 classes are called 'crane': give one by its number, of \[0, 2\]"):
        model.target("crane")
    assert (model.target(2).index, model.target("heron").index) == (2, 1)


def test_every_field_says_what_it_is() -> None:
    for owner in (Card, Input):
        assert all(field.description for field in owner.model_fields.values())


def test_a_first_card_gives_the_same_model_again(script: Path) -> None:
    first = load(script, shape=SHAPE, classes=(HOSTILE, "- b: #", "no"), mean=0.5, std=(0.1, 0.2, 1e-5), name="a\nb")
    place = card_place(str(script))
    assert place == script.with_suffix(".yaml")
    write_card(first, place)
    again = load(script)
    assert again.card == first.card
    assert again.fingerprint == first.fingerprint
    assert not again.guessed, "what a card says is declared"


def test_a_first_card_names_the_architecture_where_a_card_can(tmp_path: Path) -> None:
    spec = "torchvision:resnet18(num_classes=2)"
    save_file(build(spec).network.state_dict(), tmp_path / "net.safetensors")
    first = load(tmp_path / "net.safetensors", arch=spec)
    write_card(first, card_place(str(tmp_path)))
    assert (tmp_path / "model.yaml").is_file(), "a folder's card"
    again = load(tmp_path)
    assert (again.card.input, again.classes, again.architecture) == (first.card.input, first.classes, spec)
    named = load("torchvision:resnet18(weights=None)")
    write_card(named, tmp_path / "named.yaml")
    assert load("torchvision:resnet18(weights=None)", card=tmp_path / "named.yaml").card == named.card


def test_a_first_card_never_names_code(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(8, 2))\n"
    )
    save_file({"1.weight": torch.ones(2, 8), "1.bias": torch.zeros(2)}, tmp_path / "net.safetensors")
    first = load(tmp_path / "net.safetensors", arch=f"{tmp_path}/net.py:make", shape=(8,))
    write_card(first, tmp_path / "net.yaml")
    assert "architecture" not in read_card(tmp_path / "net.yaml")
    assert f"# the architecture was named by the user, and a card can not name code: --arch {tmp_path}/net.py:make" in (
        draft(first)
    )


def guesses(model: Model) -> dict[str, str]:
    """Return the guesses that a card's comments tell, by field."""
    lines = [line.strip() for line in draft(model).splitlines()]
    return {
        after.partition(":")[0]: line.removeprefix("# guessed: ")
        for line, after in pairwise(lines)
        if line.startswith("# guessed: ")
    }


def test_guesses_are_told_from_what_is_known(script: Path) -> None:
    known = {"shape", "mean", "std"}
    model = load(script, shape=SHAPE, mean=0.5, std=0.25)
    told = guesses(model)
    assert set(told) == {"classes", "output", *Input.model_fields} - known
    assert told["classes"] == "classes have no names: they are numbered"
    library = guesses(load("timm:resnet18(pretrained=False)"))
    assert library["mean"] == "as timm declares it for this network"
    shares = load(nn.Sequential(Linear(), nn.Softmax(1)), shape=SHAPE, classes=("a", "b", "c"))
    assert "they sum to one" in guesses(shares)["output"]
    assert "classes" not in guesses(shares)


words = st.text(max_size=12)


@given(
    st.lists(words, min_size=3, max_size=3), words, words, st.dictionaries(words, words | st.floats(0, 1), max_size=2)
)
@example(["a\x85b", "\u2028", "\ufeffé"], "\r\n", "\x85", {"\x85": "\u2029"})
@settings(deadline=None, max_examples=100)
def test_any_words_survive_a_card(classes: list[str], name: str, description: str, measured: dict[str, Any]) -> None:
    model = load_linear()
    update = {"classes": tuple(classes), "name": name, "description": description, "measured": measured}
    changed = replace(model, card=model.card.model_copy(update=update))
    assert Card.model_validate(yaml.safe_load(draft(changed))) == changed.card


def load_linear(cache: list[Model] = []) -> Model:  # noqa: B006  # it is opened once
    if not cache:
        cache.append(load(Linear(), shape=SHAPE))
    return cache[0]


def test_a_card_never_replaces_another(script: Path) -> None:
    place = card_place(str(script))
    place.write_text("name: mine")
    with pytest.raises(UsageError, match=r"net.yaml exists and a card never replaces another: give another path"):
        card_place(str(script))
    with pytest.raises(UsageError, match="cannot be written: File exists"):
        write_card(load(script, shape=SHAPE), place)
    assert place.read_text() == "name: mine"
    with pytest.raises(UsageError, match="is no file that a card could be written beside: give the card's own path"):
        card_place("torchvision:resnet18")
    with pytest.raises(UsageError, match="cannot be written: No such file or directory; give another path"):
        write_card(load_linear(), place.parent / "nowhere" / "card.yaml")


@pytest.mark.parametrize(
    ("network", "shape", "card", "told"),
    [
        (
            Small(),
            (3, 16, 16),
            "input: {shape: [1, 28, 28]}",
            "input.shape [1, 28, 28]: the network takes 3 channels, not 1",
        ),
        (Mlp(), SHAPE, "input: {shape: [3, 8, 8]}", "input.shape [3, 8, 8]: the network takes 360 numbers, not 192"),
        (Linear(), SHAPE, "input: {shape: [3, 9, 9]}", "input.shape [3, 9, 9]: the network does not take inputs of"),
        (
            Linear(),
            SHAPE,
            "classes: [a, b]\ninput: {shape: [3, 12, 10]}",
            "classes: 2 class names were given, and the network has 3 outputs",
        ),
        (
            Linear(),
            SHAPE,
            "output: probabilities\ninput: {shape: [3, 12, 10]}",
            "output: probabilities were declared, but for 4 inputs the outputs lie between",
        ),
    ],
)
def test_a_card_that_contradicts_the_network_is_refused_saying_where(
    network: nn.Module, shape: tuple[int, ...], card: str, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(network.eval(), torch.rand(1, *shape)), path)
    path.with_suffix(".yaml").write_text(card)
    with pytest.raises(RefusedFileError) as refused:
        load(path)
    assert str(refused.value).startswith(f"card {path.with_suffix('.yaml')}: {told}")
    assert "TorchScript" not in str(refused.value)
    assert capfd.readouterr().err == "", "torch's exporter prints no traceback"


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("input: {shape: [3, 12, 10], mean: [0.5, 0.5]}", "input: mean: expected 1 or 3 numbers, received 2"),
        ("input: {shape: [3, 12, 10], std: [1, 1]}", "input: std: expected 1 or 3 numbers, received 2"),
        ("input: {shape: [3, 12, 10], range: [1, 0]}", "input: range: expected low < high"),
        ("input: {shape: [12, 10], layout: channels last}", "input: layout: channels last is for"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused_saying_where(card: str, told: str, script: Path) -> None:
    script.with_suffix(".yaml").write_text(card)
    with pytest.raises(RefusedFileError) as refused:
        load(script)
    assert str(refused.value).startswith(f"card {script.with_suffix('.yaml')} does not fit: {told}")


def test_a_contradiction_names_whoever_declared_it(script: Path, tmp_path: Path) -> None:
    labels, own = tmp_path / "labels.txt", tmp_path / "own.yaml"
    labels.write_text("a\nb\n")
    with pytest.raises(RefusedFileError, match=f"^label file {labels}: 2 class names"):
        load(script, shape=SHAPE, labels=labels)
    with pytest.raises(RefusedFileError, match=r"^declared: classes: 2 class names"):
        load(script, shape=SHAPE, classes=("a", "b"))
    own.write_text("classes: [a, b]\ninput: {shape: [3, 12, 10]}")
    with pytest.raises(RefusedFileError, match=f"^card {own}: classes: 2 class names"):
        load(script, card=own)


def test_a_mismatch_behind_the_first_layer_is_not_laid_to_the_input() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(RefusedFileError, match=r"^declared: input.shape \[1, 8, 8\]: the network does not take"):
        load(network, shape=(1, 8, 8))


def test_a_live_network_says_what_is_known_of_it() -> None:
    assert "input.shape" not in load(seeded(Small), shape=(3, 16, 16)).guessed
