"""The schema that is shipped, the round-trip law, and a golden run: pytest --update-golden writes them anew."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.networks import Linear
from xai.api import explain, load
from xai.reports.artefacts import Artefact
from xai.reports.folder import open_run
from xai.reports.html.page import render
from xai.reports.records import Finding, RunRecord, TargetRecord, Trust, Value
from xai.reports.run import Run
from xai.reports.schema import FILE, text

GOLDEN = ROOT / "tests" / "golden"
WHEN = "2026-01-01T00:00:00+00:00"

words = st.text(max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | words
values = st.builds(
    Value, value=scalars, unit=words, n=st.none() | st.integers(0, 9), interval=st.none() | st.tuples(finite, finite)
)
artefacts = st.builds(Artefact, path=words, sha256=words, shape=st.tuples(st.integers(0, 9)), dtype=words)
trusts = st.builds(
    Trust,
    values=st.dictionaries(words, values, max_size=2),
    parameters=st.dictionaries(words, scalars, max_size=2),
    artefacts=st.dictionaries(words, artefacts, max_size=1),
    seconds=finite,
)
findings = st.builds(
    Finding,
    target=st.none() | st.builds(TargetRecord),
    parameters=st.dictionaries(words, scalars, max_size=3),
    values=st.dictionaries(words, values, max_size=3),
    notes=st.tuples(words),
    trust=st.tuples(trusts),
    seconds=finite,
    artefacts=st.dictionaries(words, artefacts, max_size=2),
)


def made() -> Run:
    """Return a small run with known answers, without what differs from machine to machine."""
    model = load(Linear(), shape=(3, 12, 10), classes=("a", "b", "c"), name="linear")
    generator = torch.Generator().manual_seed(0)
    pictures = [
        torch.rand((1, 3, 4, 5), generator=generator).repeat_interleave(3, 2).repeat_interleave(2, 3)[0]
        for _ in range(2)
    ]
    brief = {
        "lime": {"samples": 60, "segmentation": "grid", "segments": 6, "fill": "grey"},
        "deepdream": {"iterations": 3},
    }
    shown = ("deepdream", "gradcam", "lime", "occlusion")  # a page of every kind, and one that skips
    run = explain(model, pictures, methods=shown, measures="all", parameters=brief)
    record = run.record.model_copy(
        update={
            "created": WHEN,
            "seconds": 0.0,
            "versions": {"xai": "0"},
            "settings": {**run.record.settings, "threads": 1},
            "findings": tuple(finding.timeless() for finding in run.findings),
        }
    )
    return Run(record, run.store)


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Path:
    if request.config.getoption("--update-golden"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        made().save(GOLDEN)
        FILE.write_text(text(), encoding="utf-8")
    return GOLDEN


def test_the_shipped_schema_is_the_records(golden: Path) -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run pytest --update-golden and look at the difference"
    jsonschema.Draft202012Validator.check_schema(json.loads(FILE.read_text()))


def test_a_real_record_fits_the_schema_and_a_wrong_one_does_not(golden: Path) -> None:
    schema, record = json.loads(FILE.read_text()), json.loads((golden / "record.json").read_text())
    jsonschema.validate(record, schema)
    record["findings"][0]["status"] = "perhaps"
    with pytest.raises(jsonschema.ValidationError, match="perhaps"):
        jsonschema.validate(record, schema)


def test_a_record_without_what_came_later_is_read(golden: Path) -> None:
    record = json.loads((golden / "record.json").read_text())
    later = ("guessed", "multiply_adds", "weight_bytes", "activation_bytes", "blocks", "spatial_layer", "analyses")
    for name in (*later, "no_spatial_layer"):
        del record["model"][name]
    for layer in record["model"]["layers"]:
        del layer["multiply_adds"]
    old = RunRecord.model_validate(record)
    assert old.model.multiply_adds is None
    page = render(Run(old, open_run(golden).store)).html
    assert "The network at a glance" not in page
    assert "<td>–</td>" in page, "what is not known is a dash"


@given(st.lists(findings, max_size=2))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_reading_what_was_written_gives_the_same(drawn: list[Finding]) -> None:
    record = open_run(GOLDEN).record.model_copy(update={"findings": tuple(drawn)})
    written = record.model_dump_json()
    again = RunRecord.model_validate_json(written)
    assert again == record
    assert again.model_dump_json() == written
    jsonschema.validate(json.loads(written), json.loads(FILE.read_text()))


def test_the_same_request_gives_the_golden_record(golden: Path) -> None:
    ours, theirs = (json.loads(record.model_dump_json()) for record in (made().record, open_run(golden).record))
    assert [finding["id"] for finding in ours["findings"]] == [finding["id"] for finding in theirs["findings"]]
    assert differences(ours, theirs) == []


def test_the_golden_record_gives_the_golden_report(golden: Path) -> None:
    page = render(open_run(golden)).html
    assert plain(page) == plain((golden / "report.html").read_text(encoding="utf-8"))


def plain(page: str) -> str:
    """Return a page without the bytes of its pictures, which differ by version of the encoder."""
    return re.sub(r'"data:image/\w+;base64,[^"]*"', '"picture"', page)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two records differ by more than rounding; digests of arrays stand for their last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other} - {"sha256", "path", "fingerprint"})
        return [line for name in names for line in differences(one.get(name), other.get(name), f"{where}.{name}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for index, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{where}[{index}]")
        ]
    if isinstance(one, float) and isinstance(other, float):
        return [] if one == pytest.approx(other, rel=1e-3, abs=1e-4) else [f"{where}: {one} is not {other}"]
    if isinstance(one, str) and isinstance(other, str):
        one, other = (re.sub(r"\d+\.\d+", "#", text) for text in (one, other))
    return [] if one == other else [f"{where}: {one!r} is not {other!r}"]
