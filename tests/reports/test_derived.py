"""Shares are derived from the rows again: as recorded by real runs of each kind, and not as anyone would like them."""

from __future__ import annotations

from typing import Any

import pytest

import xai
from tests.engine import test_bounds as bounded
from tests.engine import test_verify as verified
from tests.robustness.victims import Scores
from xai.reports.artefacts import get_rows
from xai.reports.derived import derived, differing, outcomes
from xai.reports.records import Finding, Value
from xai.reports.run import Run


def attacked() -> Run:
    model = verified.loaded(Scores())
    x, y = verified.images(model)
    return xai.attack(model, (x, y), eps=[0.02, 0.1])


def within() -> Run:
    model = bounded.loaded(bounded.Curved())
    return xai.bounds(model, bounded.images(model), eps=bounded.EPS)


def decided() -> Run:
    model = verified.loaded(Scores())
    x, y = verified.images(model)
    eps = float(verified.margins(model, x, "linf")[2:].sort().values[4:6].mean())
    return xai.verify(model, (x, y), eps=eps, timeout=5, examples=0)


KINDS = {
    "attack": (attacked, {"robust accuracy", "success rate"}),
    "bounds": (within, {"certified accuracy", "accuracy under attack", "not decided"}),
    "verify": (decided, {"verified accuracy", "accuracy under attack", "not decided"}),
}


@pytest.fixture(scope="module", params=KINDS)
def told(request: pytest.FixtureRequest) -> tuple[Finding, list[dict[str, Any]], set[str]]:
    make, names = KINDS[request.param]
    run = make()
    finding = run.findings[0]
    return finding, list(get_rows(run.store, finding.artefacts["rows"])), names


def test_what_a_run_says_follows_from_its_rows(told: tuple[Finding, list[dict[str, Any]], set[str]]) -> None:
    finding, rows, names = told
    found = derived(finding, rows)
    assert {name.partition(" at ")[0] for name in found} >= {"accuracy", *names}
    assert differing(finding, rows) == []


def test_no_share_can_be_made_better(told: tuple[Finding, list[dict[str, Any]], set[str]]) -> None:
    finding, rows, _ = told
    for name, value in derived(finding, rows).items():
        assert isinstance(value.value, float)
        for better in (
            Value(value=value.value + 0.1, n=value.n, interval=value.interval),
            Value(value=value.value, n=(value.n or 0) + 1, interval=value.interval),
            Value(value=value.value, n=value.n, interval=(0.98, 0.99)),
        ):
            changed = finding.model_copy(update={"values": {**finding.values, name: better}})
            assert [one for one, _, _ in differing(changed, rows)] == [name]


def test_an_image_that_says_nothing_of_itself_is_missed(told: tuple[Finding, list[dict[str, Any]], set[str]]) -> None:
    finding, rows, _ = told
    silent = [{**rows[0], "right": None}, *rows[1:]]
    assert "accuracy" in [name for name, _, _ in differing(finding, silent)]


def test_two_runs_are_compared_by_the_same_facts(told: tuple[Finding, list[dict[str, Any]], set[str]]) -> None:
    finding, rows, names = told
    said = [outcomes(finding, row) for row in rows]
    sizes = [name.removeprefix("epsilon ") for name in finding.parameters if name.startswith("epsilon ")]
    proves = bool(names & {"certified accuracy", "verified accuracy"})
    kinds = ("right under attack at", "proved right at")[: 1 + proves]
    assert set(said[0]) == {"right", *(f"{kind} {size}" for kind in kinds for size in sizes)}
    share = sum(one[f"{kinds[-1]} {sizes[0]}"] for one in said) / len(said)
    name = next(one for one in ("robust", "certified", "verified") if f"{one} accuracy" in names)
    assert share == finding.values[f"{name} accuracy at {sizes[0]}"].value
