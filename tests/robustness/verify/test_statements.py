"""Statements in a file: what they call a violation against plain predicates, their inputs, and what is refused."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import xai
from xai.errors import RefusedFileError, UsageError
from xai.models.model import Model
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.verify import statements
from xai.robustness.verify.pairs import Pairing
from xai.robustness.verify.statements import Compiled, read_statements

NAMES = ["cat", "dog", "2"]


def model(outputs: int = 3, shape: tuple[int, ...] = (4,), **card: object) -> Model:
    last = nn.Sigmoid() if card.get("output") == "probabilities" else nn.Identity()
    net = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), outputs), last).eval()
    classes = NAMES[:outputs] if outputs <= 3 else [f"c{n}" for n in range(outputs)]
    return xai.load(net, shape=shape, classes=classes, **card)


def compiled(text: str, folder: Path, of: Model | None = None) -> list[Compiled]:
    path = folder / "properties.yaml"
    path.write_text(text)
    return read_statements(path).compiled(Bounding(of or model(), bounders.get("crown")()))


def one(fields: str, folder: Path, of: Model | None = None) -> Compiled:
    text = "properties:\n  - " + "\n    ".join(part.strip() for part in fields.split(";"))
    (found,) = compiled(text if "box" in fields or "near" in fields else f"{text}\n    box: [0, 1]", folder, of)
    return found


def outputs(count: int) -> torch.Tensor:
    """Return random outputs, many of which tie."""
    return torch.randint(-3, 4, (300, count), generator=torch.Generator().manual_seed(0)) / 4


SINGLE: dict[str, Callable[[list[float]], bool]] = {
    "never: dog": lambda y: y[1] > y[0] and y[1] > y[2],
    "never: 0": lambda y: y[0] > y[1] and y[0] > y[2],
    "stays: '2'": lambda y: y[0] > y[2] or y[1] > y[2],  # a name goes before a number
    "between: [-0.25, 1/2]; output: dog": lambda y: y[1] < -0.25 or y[1] > 0.5,
    "require: y[0] - y[2] >= 0.25": lambda y: y[0] - y[2] < 0.25,
    "require: 2 * y[dog] + 0.5 < y['cat'] - 3e-1 + y[1]": lambda y: 2 * y[1] + 0.5 >= y[0] - 0.3 + y[1],
    "require: -y[0]<=.25*y[1]": lambda y: -y[0] > 0.25 * y[1],
    "require: 0.5 > y[2]": lambda y: y[2] >= 0.5,
}


@pytest.mark.parametrize("fields", SINGLE)
def test_a_statement_is_violated_by_the_outputs_that_break_it(fields: str, tmp_path: Path) -> None:
    made = one(fields, tmp_path)
    assert made.pair is None
    for y in outputs(3):
        assert made.violated(y) == SINGLE[fields](y.tolist())
        if made.violated(y):
            assert min(float(case.slack(y[None])) for case in made.property.cases) <= 1e-12


def test_a_statement_of_one_score_is_about_its_middle(tmp_path: Path) -> None:
    for card, middle in (({"output": "probabilities"}, 0.5), ({"output": "logits"}, 0.0)):
        of = model(1, **card)
        for y in outputs(1):
            score = float(y)
            assert one("never: cat", tmp_path, of).violated(y) == (score > middle)
            assert one("stays: cat", tmp_path, of).violated(y) == (score < middle)


PAIRS: dict[str, Callable[[list[float], list[float]], bool]] = {
    "increasing: 1; output: cat; tolerance: 0.25": lambda a, b: b[0] < a[0] - 0.25,
    "decreasing: 1; output: 1; tolerance: 1/4": lambda a, b: b[1] > a[1] + 0.25,
    "regardless: [0, 2]; output: dog; tolerance: 0.25": lambda a, b: b[1] < a[1] - 0.25 or a[1] < b[1] - 0.25,
}


@pytest.mark.parametrize("fields", PAIRS)
def test_a_statement_of_pairs_is_violated_by_both_outputs(fields: str, tmp_path: Path) -> None:
    made = one(fields, tmp_path)
    for y in outputs(6):
        first, second = y[:3].tolist(), y[3:].tolist()
        # of inputs whatever they are either may be the first
        either = made.violated(y) or ("regardless" in fields and made.violated(torch.cat((y[3:], y[:3]))))
        assert either == PAIRS[fields](first, second)


@pytest.mark.parametrize("count", [1, 3])
def test_an_answer_changes_where_another_is_ahead_by_the_tolerance(count: int, tmp_path: Path) -> None:
    made = one("regardless: 3; tolerance: 0.25", tmp_path, model(count))
    for y in outputs(2 * count):
        first, second = (part.tolist() if count > 1 else [0.0, float(part)] for part in (y[:count], y[count:]))
        top = max(range(len(first)), key=first.__getitem__)
        alone = sorted(first)[-1] > sorted(first)[-2]
        wanted = alone and any(other - second[top] > 0.25 for other in second)
        assert made.violated(y) == wanted


def test_inputs_are_a_box_or_what_is_near(tmp_path: Path) -> None:
    wide = model(2, (2,), range=(0.0, 1.0))
    box = one("never: cat; box: [0.1, 1/3]", tmp_path, wide).property.cases[0].region.box
    for low, high in zip(box.lower.flatten().tolist(), box.upper.flatten().tolist(), strict=True):
        assert Fraction(low) <= Fraction(1, 10) < Fraction(low) + Fraction(2) ** -50
        assert Fraction(high) - Fraction(2) ** -50 < Fraction(1, 3) <= Fraction(high)
    several = one("never: cat; box: [[0, 1], [-1, 2]]", tmp_path, wide).property.cases[0].region.box
    assert several.lower.flatten().tolist() == [0.0, -1.0]
    assert several.upper.flatten().tolist() == [1.0, 2.0]
    near = one("never: cat; near: [0.5, 1]; within: 1/4; norm: l2", tmp_path, wide).property.cases[0].region
    torch.testing.assert_close(near.box.lower.flatten(), torch.tensor([0.25, 0.75]).double())
    torch.testing.assert_close(near.box.upper.flatten(), torch.tensor([0.75, 1.0]).double())
    assert near.norm == "l2"


def test_a_picture_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    of = model(3, (3, 4, 4))
    Image.new("RGB", (4, 4), (51, 102, 204)).save(tmp_path / "a.png")
    region = one("stays: dog; near: a.png; within: 2/255", tmp_path, of).property.cases[0].region
    torch.testing.assert_close(region.centre[0, 0, :, 0, 0], torch.tensor([0.2, 0.4, 0.8]).double(), atol=1e-7, rtol=0)
    with pytest.raises(UsageError, match="does not exist"):
        one("stays: dog; near: b.png; within: 2/255", tmp_path, of)


def test_pairs_have_joint_inputs(tmp_path: Path) -> None:
    step = one("increasing: 1; output: 0; tolerance: 0.1; box: [[0, 1], [2, 4], [0, 1], [0, 1]]", tmp_path)
    assert step.pair is not None
    assert step.pair.pairing is Pairing.STEP
    region = step.property.cases[0].region.box
    assert region.lower.shape == (1, 1, 2, 4)
    assert region.lower[0, 0].tolist() == [[0, 2, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(region.upper[0, 0, 1], torch.tensor([0.0, 2, 0, 0]).double())
    first, second = step.pair.inputs(
        torch.tensor([[[0.5, 3.0, 0, 1], [9, 0.5, 9, 9]], [[0, 3.5, 0, 0], [0, 2.0, 0, 0]]])
    )
    assert first.tolist() == [[0.5, 3.0, 0, 1], [0, 3.5, 0, 0]]
    assert second.tolist() == [[0.5, 3.5, 0, 1], [0, 4.0, 0, 0]]
    other = one("regardless: [0, 3]; tolerance: 0.1; output: 0; box: [1, 2]", tmp_path)
    assert other.property.cases[0].region.box.upper[0, 0].tolist() == [[2, 2, 2, 2], [2, 0, 0, 2]]


REFUSED = {
    "never: doggy; box: [0, 1]": "line 2, column 5: never: there is no class 'doggy'; did you mean 'dog'?",
    "neverr: dog; box: [0, 1]": "there is no field 'neverr'; did you mean 'never'",
    "never: dog; stays: cat; box: [0, 1]": "expected one of never, stays,",
    "name: nothing; box: [0, 1]": "received none",
    "never: dog; output: 0; box: [0, 1]": "expected no output beside never",
    "never: dog; box: [0, 1]; near: a.png; within: 1": "expected either box, or near and within",
    "never: dog; near: a.png": "expected within beside near",
    "never: dog; box: [1, 0]": "expected [lowest, highest]",
    "never: dog; box: [0, .inf]": "expected a number such as",
    "never: dog; box: [[0, 1], [0, 1]]": "line 3, column 5: box: expected one range, or 4 for inputs of (4,), ",
    "never: dog; near: [0.5]; within: 1/4": "near: expected 4 numbers, received 1",
    "never: dog; near: a.png; within: -1": "not negative",
    "between: [0, 1]; box: [0, 1]": "expected output: its name or number",
    "between: [0, 1]; output: 3; box: [0, 1]": "there is no output '3'",
    "require: y[0]; box: [0, 1]": "expected one of >=, <=, >, < between two terms",
    "require: y[0] * y[1] > 0; box: [0, 1]": "expected terms such as",
    "require: y[0] 3 > 0; box: [0, 1]": "expected terms such as",
    "require: y[0] >= y[0]; box: [0, 1]": "expected a statement of the outputs",
    "require: y[3] >= 0; box: [0, 1]": "there is no output '3'",
    "increasing: 1; output: 0; box: [0, 1]": "expected a tolerance above 0 beside increasing",
    "increasing: 1; output: 0; tolerance: 0; box: [0, 1]": "expected a tolerance above 0",
    "increasing: 4; output: 0; tolerance: 1; box: [0, 1]": "expected inputs from 0 to 3, received 4",
    "regardless: []; tolerance: 1; box: [0, 1]": "at least 1 item",
    "regardless: 1; tolerance: 1; near: [0, 0, 0, 0]; within: 1; norm: l2": "expected a box or the norm linf",
    "never: dog; near: a.png; within: 1; norm: l3": "norm: expected linf, l2, l1, received 'l3'",
}


@pytest.mark.parametrize("fields", REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(fields: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError) as caught:
        one(fields, tmp_path)
    assert REFUSED[fields] in str(caught.value)
    assert "line " in str(caught.value)


def test_values_have_no_classes_and_many_classes_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="expected a model that scores classes"):
        one("never: cat", tmp_path, model(output="values"))
    with pytest.raises(RefusedFileError, match="expected at most 32 classes, received 40"):
        one("regardless: 1; tolerance: 1", tmp_path, model(40))


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    start = str(statements.__doc__).index("    properties:")
    path.write_text(textwrap.dedent(str(statements.__doc__)[start:].partition("\n\n")[0]))
    kinds = [one.kind for one in read_statements(path).statements.properties]
    assert kinds == ["never", "stays", "between", "require", "increasing", "regardless"]


def test_all_faults_of_a_file_are_told(tmp_path: Path) -> None:
    text = "properties:\n- {never: ct, box: [0, 1]}\n- {stays: dog, box: [0, 1]}\n- {stays: do, box: [0, 1]}\n"
    with pytest.raises(RefusedFileError, match=r"2 faults: line 2, column 4: .*; line 4, column 4: "):
        compiled(text, tmp_path)
