"""Standards: files that are read, clauses that are there, and what a policy may name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xai.errors import RefusedFileError
from xai.reports.html.sections.base import sections
from xai.reports.policy.reading import ReadPolicy, read_policy
from xai.reports.policy.standards import bundled, profiles_of, read_profile
from xai.reports.trace import OR, RECORD

LEAST = """\
model: {source: net.pt, intended_use: sorting}
data: {test: images/}
requirements:
  - {id: ACC, require: accuracy >= 95 %, clauses: [CLAUSE]}
profiles: [PROFILES]
"""
OWN = """\
title: House rules
clauses:
  "1": {asks: It is right., families: [performance]}
"""


def policy(folder: Path, profiles: str, clause: str = "") -> ReadPolicy:
    path = folder / "audit.yaml"
    path.write_text(LEAST.replace("PROFILES", profiles).replace("CLAUSE", clause))
    return read_policy(path)


def test_every_standard_that_comes_along_is_read() -> None:
    assert {"eu-ai-act", "iso-24029-2", "easa", "nist-ai-rmf", "fda"} <= set(bundled())
    for name, path in bundled().items():
        profile = read_profile(path)
        assert profile.name == name
        assert "complian" not in path.read_text().lower()
        for clause in profile.clauses:
            assert clause.asks.endswith("."), clause.id
            assert bool(clause.families) != bool(clause.outside), f"{name} {clause.id}: evidence, or a reason for none"


def test_clauses_have_the_numbers_that_are_sure() -> None:
    clauses = {name: {clause.id for clause in read_profile(path).clauses} for name, path in bundled().items()}
    assert {"9(6)", "9(8)", "15(1)", "15(4)", "15(5)", "Annex IV 2(g)"} <= clauses["eu-ai-act"]
    assert "9(5)" not in clauses["eu-ai-act"], "a number that many pages have wrong"
    assert {"5.3", "5.4", "5.6", "6.2.1.5"} <= clauses["iso-24029-2"]


def test_a_policy_names_standards_and_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text(OWN)
    first, second = profiles_of(policy(tmp_path, "eu-ai-act, house.yaml", "house 1"))
    assert (first.name, second.name, second.title) == ("eu-ai-act", "house", "House rules")
    assert second.digest == hashlib.sha256(OWN.encode()).hexdigest()
    assert [(clause.id, clause.families) for clause in second.clauses] == [("1", ("performance",))]


@pytest.mark.parametrize(
    ("profiles", "clause", "words"),
    [
        ("eu-ai-akt", "", "line 5, column 12: there is no profile 'eu-ai-akt'; did you mean 'eu-ai-act'?"),
        ("own.yaml", "", "line 5, column 12: profile {folder}/own.yaml does not exist"),
        ("eu-ai-act, eu-ai-act", "", "line 5, column 23: the profile 'eu-ai-act' is named twice"),
        ("eu-ai-act", "eu-ai-act 15(2)", "line 4, column 52: there is no clause 'eu-ai-act 15(2)' in the profiles"),
        ("eu-ai-act", "fda GMLP 3", "name its standard under profiles"),
        ("eu-ai-act", "eu-ai-act 15(12)", "did you mean 'eu-ai-act 15(1)'"),
    ],
)
def test_what_is_not_there_is_told_with_its_place(profiles: str, clause: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError) as caught:
        profiles_of(policy(tmp_path, profiles, clause))
    assert words.format(folder=tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title: a", "clauses is missing"),
        ("title: a\nclauses: {}", "clauses"),
        ("title: a\nclauses: {1: {ask: x}}", "line 2, column 15: there is no field 'ask'; did you mean 'asks'?"),
    ],
)
def test_a_profile_that_is_none_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(RefusedFileError) as caught:
        profiles_of(policy(tmp_path, "own.yaml"))
    assert words in str(caught.value)


def test_families_of_clauses_are_those_that_findings_have() -> None:
    """A misspelt family could never be served."""
    known = {*sections.all(), RECORD}
    named = {
        family
        for path in bundled().values()
        for clause in read_profile(path).clauses
        for one in clause.families
        for family in one.split(OR)
    }
    assert named - known == set()
