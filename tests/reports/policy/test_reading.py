"""A policy's file: every fault with line, column, what was expected, what was received and what was meant."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.errors import RefusedFileError, UsageError, XaiError
from xai.reports.policy.fields import Policy
from xai.reports.policy.places import read_bytes
from xai.reports.policy.reading import ReadPolicy, fitted, read_policy, schema_text
from xai.reports.policy.start import first_policy

LEAST = """\
model: {source: net.pt, intended_use: sorting shapes}
data: {test: images/}
requirements:
  - accuracy >= 95 %
"""


def read(text: str | bytes, folder: Path) -> ReadPolicy:
    path = folder / "audit.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_policy(path)


def refusal(text: str | bytes, folder: Path) -> str:
    with pytest.raises(RefusedFileError) as caught:
        read(text, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_short_policy_is_read_with_its_defaults(tmp_path: Path) -> None:
    found = read(LEAST, tmp_path)
    assert found.policy.data.test.source == "images/"
    assert {name: str(demand) for name, demand in found.policy.demands().items()} == {
        "R1": "accuracy >= 95 % with 95 % confidence"
    }
    assert found.digest == hashlib.sha256(LEAST.encode()).hexdigest()
    assert found.text == LEAST


def test_a_requirement_may_stand_as_a_text_or_as_fields(tmp_path: Path) -> None:
    text = (
        LEAST
        + """\
  - {id: CERT, metric: "certified_accuracy(linf, 1/255)", threshold: 0.8, confidence: 99 %, severity: should}
  - {metric: verified_accuracy(2/255), threshold: 0.8}
  - {metric: ece, threshold: .05}
  - {metric: ece, threshold: "< 5 %"}
  - {id: 7, require: worst_group_accuracy >= 0.9, clauses: [own 5.3]}
confidence: 0.9
threat: {norm: l2}
""".replace("data: {test: images/}", "")
    )
    policy = read(text.replace("images/}", "images/, groups: [day, night]}"), tmp_path).policy
    assert {name: str(demand) for name, demand in policy.demands().items()} == {
        "R1": "accuracy >= 95 % with 90 % confidence",
        "CERT": "certified_accuracy(linf, 1/255) >= 0.8 with 99 % confidence",
        "R3": "verified_accuracy(l2, 2/255) >= 0.8 with 90 % confidence",
        "R4": "ece <= .05 with 90 % confidence",
        "R5": "ece < 5 % with 90 % confidence",
        "7": "worst_group_accuracy(day, night) >= 0.9 with 90 % confidence",
    }
    assert [one.severity for one in policy.requirements] == ["must", "should", "must", "must", "must", "must"]
    assert policy.requirements[5].clauses == ("own 5.3",)


def test_all_faults_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    told = refusal(
        """\
model:
  source: net.pt
  intended_us: sorting
data: {test: images/}
treat: {norm: linf}
requirements:
  - accuracy => 0.9
  - {id: A, require: accuracy >= .8, severity: shoud}
  - {metric: ood.auroc(noise), threshold: 0.05}
  - robust_acuracy(2/255) >= 0.5
  - accuracy >= 95
threat: {epsilons: [1/255, 1/0]}
""",
        tmp_path,
    )
    assert "audit.yaml has 9 faults: line 1, column 1: model.intended_use is missing: what it is to be used" in told
    for words in (
        "line 3, column 3: there is no field 'intended_us'; did you mean 'intended_use'?",
        "line 5, column 1: there is no field 'treat'; did you mean 'threat'?",
        "line 7, column 5: requirements #1: expected a comparison (>=, <=, >, < or ==) after 'accuracy', received",
        "line 8, column 38: requirements #2.severity: expected must, should, may, received 'shoud'; did you mean",
        "line 9, column 5: requirements #3: expected a comparison before '0.05', such as >= 0.05",
        "line 10, column 5: requirements #4: there is no metric 'robust_acuracy'; did you mean 'robust_accuracy'",
        "line 11, column 5: requirements #5: accuracy is a share, from 0 to 1: received 95; did you mean 95 %?",
        "line 12, column 28: threat.epsilons #2: '1/0' divides by zero",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1: expected fields: model, data, requirements"),
        ("- a", "expected fields"),
        ("model: [", "line 1, column 9: this is no YAML"),
        ("a: 1\na: 2", "line 2, column 1: 'a' stands here twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("model: !!python/object/apply:os.system [ls]", "line 1, column 8: the tag"),
        ("? [a]\n: 1", "expected a name"),
        ("a: 1\n---\nb: 2", "this is no YAML"),
        ("a: \x07", "this is no YAML"),
        (b"a: \xff", "is not UTF-8 text"),
        ("[" * 3000, "at most 16 levels"),
        ("a: " + "x" * 300_000, "is larger than"),
        ("- x\n" * 30_000, "20000 parts"),
    ],
)
def test_what_is_no_policy_is_refused_soon(text: str | bytes, words: str, tmp_path: Path) -> None:
    begun = time.perf_counter()
    assert words in refusal(text, tmp_path)
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("{text: nothing}", "expected either require: METRIC >= NUMBER, or metric and threshold"),
        ("{require: accuracy > 0.5, metric: accuracy, threshold: 1}", "expected either"),
        ("{metric: accuracy}", "expected a threshold beside metric"),
        ("{require: accuracy > 0.5 with 90 % confidence, confidence: 95 %}", "keep one"),
        ("{require: accuracy > 0.5, id: 'a b'}", "expected up to 40 letters"),
        ("corruption(fog, 6) > 0.5", "a severity is 1 to 5"),
        ("robust_accuracy > 0.5", "the size of the change is missing"),
        ("robust_accuracy(a, b, 1/255) > 0.5", "robust_accuracy(PLAN, NORM, SIZE)"),
        ("certified_accuracy(lind, 1/255) > 0.5", "there is no norm 'lind'; did you mean 'linf'?"),
        ("verified_accuracy(lind, 1/255) > 0.5", "there is no norm 'lind'; did you mean 'linf'?"),
        ("verified('a property') >= 0.5", "holds or does not: expected it alone"),
        ("verified('a property') == false", "holds or does not: expected it alone"),
        ("verified", "expected verified('PROPERTY'): received 0 names"),
        ("{require: accuracy}", "expected a comparison"),
        ("value(x) > 1", "expected value(FINDING, 'NAME')"),
        ("accuracy == high", "is a share: expected a number"),
    ],
)
def test_requirements_that_do_not_fit_are_told(requirement: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(f"{LEAST}  - {requirement}\n", tmp_path)


def test_ids_stand_once(tmp_path: Path) -> None:
    twice = LEAST + "  - {id: A, require: ece < 1}\n  - {id: A, require: ece < 1}\n"
    assert "2 requirements have the id 'A'" in refusal(twice, tmp_path)
    shifted = read(LEAST.replace("- acc", "- {id: R2, require: ece < 1}\n  - acc"), tmp_path).policy
    assert [one.id for one in shifted.requirements] == ["R2", "R2x"]


def test_a_policy_that_is_not_there_is_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_policy(tmp_path / "audit.yaml")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_data_or_refused(content: bytes) -> None:
    with suppress(XaiError):
        read_bytes(content, "it")


@pytest.mark.parametrize("model", ["net.pt", "sample:shapes", "a 'b' \"c\" #d: {e}.pt", "ä\n- b", "%(x)s {0} {{1}}"])
def test_the_first_policy_can_be_read_as_it_is_written(model: str, tmp_path: Path) -> None:
    found = read(first_policy(model, "data", profiles=("own.yaml",), clauses=("own 1(a)",)), tmp_path).policy
    assert found.model.source == model
    assert found.profiles == ("own.yaml",)
    assert len(found.requirements) == 3
    assert found.explanations is not None
    assert (found.properties, found.verification.seconds) == (None, 10)


def test_what_the_first_policy_shows_as_comments_is_as_it_would_be_read(tmp_path: Path) -> None:
    text = (
        first_policy("net.pt", "data")
        .replace("# properties:", "properties:")
        .replace("# verification:", "verification:")
    )
    found = read(text.replace("#   seconds: 10", "  seconds: 7"), tmp_path).policy
    assert (found.properties, found.verification.seconds) == ("properties.yaml", 7)


def test_the_schema_admits_a_policy_and_refuses_another(tmp_path: Path) -> None:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = first_policy("net.pt", "images/")
    jsonschema.validate(yaml.safe_load(text), schema)
    jsonschema.validate(yaml.safe_load(LEAST), schema)
    jsonschema.validate({**yaml.safe_load(LEAST), "properties": "p.yaml", "verification": {"seconds": 2}}, schema)
    for wrong in ({"treat": {}}, {"verification": {"seconds": 0}}, {"confidence": []}, {"requirements": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**yaml.safe_load(LEAST), **wrong}, schema)


WORDS = "model source intended_use data test ood requirements require metric threshold threat epsilons severity odd"
NAMES = [*WORDS.split(), "confidence", "explanations", "right", "profiles", "domain"]
parts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["accuracy >= 1", "", "net.pt", "must", "1/255"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(parts)
@settings(deadline=None, max_examples=300)
def test_any_data_are_a_policy_or_refused_in_one_line(data: object) -> None:
    written = read_bytes(yaml.safe_dump(data).encode(), "it")
    with suppress(XaiError):
        fitted(written, Policy, "it")


@pytest.mark.parametrize("place", ["model", "data", "requirements", "threat", "domain", "explanations"])
@pytest.mark.parametrize("wrong", ["5", "[1]", "{a: 1}", "null", "[[accuracy]]", "[null]"])
def test_a_part_of_the_wrong_kind_is_told_with_its_line(place: str, wrong: str, tmp_path: Path) -> None:
    fields = {"model": "{source: a, intended_use: b}", "data": "{test: a}", "requirements": "[ece < 1]"}
    fields = {**fields, place: wrong}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    line = [*fields].index(place) + 1
    if wrong == "null" and place in ("domain", "explanations"):
        assert getattr(read(text, tmp_path).policy, place) is None
    else:
        assert f"line {line}, column" in refusal(text, tmp_path)
