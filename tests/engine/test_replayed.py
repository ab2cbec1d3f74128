"""A property's counterexample is put before its model again: what was changed since is found, without the YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xai
from tests.engine.audit.small import Scores, data_of, inputs, model_of, policy_of
from xai.engine.audit.run import Roles, audit, failed
from xai.engine.claim import Claim
from xai.engine.deciding import plan_deciding
from xai.engine.recheck import recheck
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, get, get_rows, put, put_rows
from xai.reports.audit import settle
from xai.reports.check import Checked
from xai.reports.records import Finding
from xai.reports.run import Run
from xai.robustness.verify.statements import Compiled, read_statements

ONE, BALL, STEP, OTHER, HELD = (f"property/{number}" for number in range(5))
TEXT = """
properties:
  - {{name: ordered, require: "y[ant] - y[bee] > 0", box: [0, 1]}}
  - {{name: near, stays: {answer}, near: {near}, within: 3, norm: l2}}
  - {{name: rising, increasing: {fed}, output: ant, tolerance: 0.01, box: [0, 1]}}
  - {{name: ignored, regardless: [0, 1, 2], tolerance: 0.01, box: [0, 1]}}
  - {{name: small, output: ant, between: [-100, 100], box: [0, 1]}}
"""


def text() -> str:
    """Return statements of which the last holds and all others are violated."""
    near, weight = [0.5] * 20, Scores().weight
    answer = int(Scores()(torch.tensor([near])).argmax())
    return TEXT.format(near=near, answer=answer, fed=int(weight[:, 0].argmin()))


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of()


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    file = tmp_path_factory.mktemp("properties") / "properties.yaml"
    file.write_text(text())
    found = xai.verify(model, properties=file, timeout=20)
    assert [one.verdict for one in found.findings] == ["violated"] * 4 + ["holds"]
    file.unlink()
    return found


def checked(run: Run, model: Model, folder: Path, name: str = "", **changed: Any) -> Checked:
    """Check a run with something else in a finding; all digests fit."""
    findings = [one.model_copy(update=changed) if one.id == name else one for one in run.findings]
    record = run.record.model_copy(update={"findings": tuple(findings)})
    return recheck(Run(record, run.store).save(folder / "run").parent, model)


def held(run: Run, name: str) -> Finding:
    return next(one for one in run.findings if one.id == name)


def with_(run: Run, name: str, kept: str, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Return the artefacts of a finding with one of them changed."""
    artefacts = held(run, name).artefacts
    return {"artefacts": {**artefacts, kept: put(run.store, change(get(run.store, artefacts[kept]).copy()))}}


def told(found: Checked) -> list[str]:
    return [one.words for one in found.complaints]


def test_counterexamples_of_one_input_and_of_two_replay(run: Run, model: Model, tmp_path: Path) -> None:
    found = checked(run, model, tmp_path)
    assert told(found) == []
    for name in (ONE, BALL, STEP, OTHER):
        assert f"{name}: its counterexample, read again and put before the model and in onnxruntime" in found.done
    assert f"{HELD}: that it is 'holds': no proof of it is kept" in found.unchecked
    assert [len(get(run.store, held(run, name).artefacts["counterexample"])) for name in (ONE, STEP)] == [1, 2]


@pytest.mark.parametrize("name", [ONE, BALL, STEP, OTHER])
def test_a_point_outside_of_the_region_is_found(run: Run, model: Model, tmp_path: Path, name: str) -> None:
    found = checked(run, model, tmp_path, name, **with_(run, name, "counterexample", lambda x: x + 2))
    assert told(found) == ["its counterexample lies outside of the region"]


def test_a_point_outside_of_the_ball_and_inside_of_its_box_is_found(run: Run, model: Model, tmp_path: Path) -> None:
    found = checked(run, model, tmp_path, BALL, **with_(run, BALL, "counterexample", lambda x: x.round() * 0 + 1))
    assert float(np.linalg.norm(np.full(20, 0.5))) < 3, "the corner lies in the ball"
    assert "outputs there than those recorded" in told(found)[0]
    narrow = {"parameters": {**held(run, BALL).parameters, "radius": 1e-3}}
    assert told(checked(run, model, tmp_path / "narrow", BALL, **narrow)) == [
        "its counterexample lies outside of the region"
    ]


def test_a_point_that_violates_nothing_is_found(run: Run, model: Model, tmp_path: Path) -> None:
    def turned(x: np.ndarray) -> np.ndarray:
        gap = Scores().weight[:, 0] - Scores().weight[:, 1]
        best: np.ndarray = (gap > 0).float().reshape(x.shape).numpy()
        return best

    found = checked(run, model, tmp_path, ONE, **with_(run, ONE, "counterexample", turned))
    assert told(found) == [
        "the model gives other outputs there than those recorded",
        "its counterexample does not violate it, by the model and onnxruntime",
    ]


def test_two_inputs_that_differ_elsewhere_or_fall_are_found(run: Run, model: Model, tmp_path: Path) -> None:
    elsewhere = with_(run, OTHER, "counterexample", lambda x: np.stack([x[0], 1 - x[0]]))
    assert "does not compare" in told(checked(run, model, tmp_path / "a", OTHER, **elsewhere))[0]
    falling = with_(run, STEP, "counterexample", lambda x: x[::-1].copy())
    assert "does not compare" in told(checked(run, model, tmp_path / "b", STEP, **falling))[0]
    alone = with_(run, STEP, "counterexample", lambda x: x[:1])
    assert "is of shape (1, 1, 4, 5)" in told(checked(run, model, tmp_path / "c", STEP, **alone))[0]


@pytest.mark.parametrize("name", [ONE, STEP])
def test_outputs_that_the_model_does_not_give_are_found(run: Run, model: Model, tmp_path: Path, name: str) -> None:
    found = checked(run, model, tmp_path, name, **with_(run, name, "outputs", lambda y: np.roll(y, 1, axis=1)))
    assert "the model gives other outputs there than those recorded" in told(found)


def test_a_verdict_that_the_counterexample_does_not_bear_out_is_found(run: Run, model: Model, tmp_path: Path) -> None:
    for number, verdict in enumerate(("holds", "not decided")):
        found = checked(run, model, tmp_path / str(number), ONE, verdict=verdict)
        assert told(found) == [f"it is recorded as {verdict}, and its counterexample violates it"]
    turned = checked(run, model, tmp_path / "held", HELD, verdict="violated")
    assert told(turned) == ["it is violated, and no counterexample is kept"]
    claim = held(run, ONE).artefacts
    bare = {name: claim[name] for name in ("constraints", "region")}
    assert told(checked(run, model, tmp_path / "bare", ONE, artefacts=bare)) == [
        "it is violated, and no counterexample is kept"
    ]


def test_a_statement_that_was_changed_or_is_none_is_found(run: Run, model: Model, tmp_path: Path) -> None:
    rows = list(get_rows(run.store, held(run, ONE).artefacts["constraints"]))

    def kept(**changed: Any) -> dict[str, Any]:
        artefact = put_rows(run.store, [{**rows[0], **changed}])
        return {"artefacts": {**held(run, ONE).artefacts, "constraints": artefact}}

    eased = checked(run, model, tmp_path / "eased", ONE, **kept(limit=[-100, 1]))
    assert "does not violate it, by the recorded outputs and the model and onnxruntime" in told(eased)[0]
    for number, limit in enumerate(([1, 0], [10**400, 1], ["a", 1])):
        found = checked(run, model, tmp_path / str(number), ONE, **kept(limit=limit))
        assert [line for line in found.unchecked if line.startswith(f"{ONE}: its evidence cannot be read")]


def test_a_run_that_keeps_no_statement_is_told(run: Run, model: Model, tmp_path: Path) -> None:
    earlier = {name: held(run, ONE).artefacts[name] for name in ("counterexample", "outputs")}
    found = checked(run, model, tmp_path, ONE, artefacts=earlier)
    assert told(found) == []
    assert f"{ONE}: the run does not keep what its statement says" in found.unchecked


@pytest.fixture(scope="module")
def required(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "properties.yaml").write_text(text())
    x, y = inputs(8)
    found = audit(
        model,
        policy_of(folder, "verified('small')", properties="properties.yaml"),
        Roles(data_of(model, x, y)),
        store=MemoryStore(),
    )
    (folder / "properties.yaml").unlink()
    return found


def test_an_audits_properties_are_compiled_again_from_the_record(required: Run, model: Model, tmp_path: Path) -> None:
    found = checked(required, model, tmp_path)
    assert told(found) == []
    assert "5 properties, compiled again from the recorded file" in found.done


def test_findings_that_are_not_about_the_recorded_properties_are_found(
    required: Run, model: Model, tmp_path: Path
) -> None:
    """Names that change places would change the verdicts of requirements."""
    swapped = told(checked(required, model, tmp_path / "swapped", ONE, title="small"))
    assert "it is called 'small', and the property in its place 'ordered'" in swapped
    lost = told(checked(required, model, tmp_path / "lost", HELD, id="property/9"))
    assert "no finding is about the property 'small'" in lost
    wider = with_(required, HELD, "region", lambda ends: ends / 2)
    assert "it says something else than the property" in told(checked(required, model, tmp_path / "w", HELD, **wider))
    nearer = {"parameters": {**held(required, BALL).parameters, "radius": 2.9}}
    assert "it says something else than the property" in told(checked(required, model, tmp_path / "n", BALL, **nearer))


def test_an_audit_whose_properties_broke_is_told_and_not_complained_of(
    required: Run, model: Model, tmp_path: Path
) -> None:
    others = tuple(one for one in required.findings if one.family != "property")
    findings = (*others, failed("property", "failed", "no memory", "Properties"))
    assert required.record.audit is not None
    update = {"findings": findings, "audit": settle(required.record.audit, findings)}
    found = recheck(Run(required.record.model_copy(update=update), required.store).save(tmp_path / "run").parent, model)
    assert told(found) == []
    assert "properties: the run decided none of them" in found.unchecked


def test_what_is_kept_of_a_statement_says_what_the_statement_says(model: Model, tmp_path: Path) -> None:
    (tmp_path / "properties.yaml").write_text(text())
    stated = read_statements(tmp_path / "properties.yaml").compiled(plan_deciding(model).bounding)
    random, store = np.random.default_rng(0), MemoryStore()
    for one in stated:
        claim = reread(one, store)
        count = one.rows[0].outputs
        ties = np.zeros((1, count))
        for outputs in [ties, *random.normal(0, 80, (40, 1, count))]:
            assert claim.violated(outputs) == one.violated(outputs.ravel().tolist())
        assert claim.violated(np.full((1, count), np.nan)) is False
        assert [row.limits.tolist() for row in claim.rows] == [row.limits.tolist() for row in one.rows]


def reread(stated: Compiled, store: MemoryStore) -> Claim:
    claim = Claim.of(stated)
    bare = Finding(
        id="property/0",
        family="property",
        method="property",
        title="",
        description="",
        limits="",
        source="",
        kind="sound",
        input=None,
        status="ok",
        parameters=claim.parameters(),
        artefacts=claim.artefacts(store),
    )
    return Claim.read(bare, store)
