"""A whole audit: what breaks is told, and nothing passes because it was skipped."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from random import Random
from typing import Any, NoReturn
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
import torch

from tests.engine.audit.small import Scores, audited, data_of, inputs, model_of, policy_of, reach, verdicts
from xai.data.dataset import open_data
from xai.engine import shards
from xai.engine.audit import parts as engine_parts
from xai.engine.audit import run as engine
from xai.engine.audit.run import Roles, audit
from xai.engine.deciding import Judge
from xai.engine.shards import OtherRunError
from xai.errors import RefusedFileError, UsageError
from xai.reports.artefacts import FolderStore, MemoryStore
from xai.reports.audit import reevaluate
from xai.reports.html.page import render
from xai.reports.records import AuditRecord, Finding
from xai.reports.renderings import renderings
from xai.reports.run import Run

ROBUST = "robust_accuracy(pgd, 0.02) >= 10 %"
CERTIFIED = "certified_accuracy(0.02) >= 10 %"
VERIFIED = "verified_accuracy(0.02) >= 10 %"


def of_family(run: Run, family: str) -> list[Finding]:
    return [finding for finding in run.findings if finding.family == family]


def test_each_kind_of_verdict_is_reached_and_can_be_reached_again_from_the_record(tmp_path: Path) -> None:
    run = audited(tmp_path, "accuracy >= 60 %", "accuracy >= 99 %", "accuracy >= 80 %", ROBUST, CERTIFIED)
    assert verdicts(run) == ["holds", "violated", "not decided", "holds", "holds"]
    assert run.requirements[2].needed
    assert reevaluate(run.record) == []
    assert not run.passed
    assert len({finding.id for finding in run.findings}) == len(run.findings)


@pytest.mark.parametrize(
    ("name", "family", "lost"),
    [
        ("attack", "robustness", ROBUST),
        ("bounds", "bounds", CERTIFIED),
        ("verify", "verification", VERIFIED),
        ("explain", "explanation", ""),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError("it broke"), UsageError("it broke"), MemoryError("it broke")])
def test_a_part_that_breaks_is_told_and_its_requirement_is_not_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, family: str, lost: str, error: Exception
) -> None:
    def broken(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(engine_parts, name, broken)
    run = audited(
        tmp_path, "accuracy >= 60 %", ROBUST, CERTIFIED, VERIFIED, explanations={"right": 1, "methods": ["occlusion"]}
    )
    assert [(one.status, "it broke" in one.reason) for one in of_family(run, family)] == [("failed", True)]
    wanted = ["holds", *("not decided" if one == lost else "holds" for one in (ROBUST, CERTIFIED, VERIFIED))]
    assert verdicts(run) == wanted
    assert run.passed == (lost == "")
    assert all("it broke" in one.sentence for one in run.requirements if one.verdict == "not decided")


def test_a_search_proves_what_a_pass_of_bounds_cannot_and_both_ends_decide(tmp_path: Path) -> None:
    """Each size and norm that a requirement names is verified by itself; the threat model alone asks for none."""
    model, x = model_of(), 0.3 + 0.4 * inputs()[0]  # far from the range's ends, so that the reach is exact
    y = Scores()(x).argmax(1)
    wide = round(float(np.quantile(reach(x, y), 0.7)), 4)
    asked = [
        VERIFIED,
        "verified_accuracy(1/50) >= 10 %",
        f"verified_accuracy({wide}) >= 80 %",
        "verified_accuracy(l2, 0.02) >= 10 %",
    ]
    run = audited(tmp_path, *asked, model=model, roles=Roles(data_of(model, x, y)), threat={"epsilons": ["0.01"]})
    assert verdicts(run) == ["holds", "holds", "violated", "holds"]
    told = {one.id: (one.parameters["norm"], one.parameters["epsilons"]) for one in of_family(run, "verification")}
    assert sorted(told.values()) == [("l2", "0.02"), ("linf", "0.02"), ("linf", str(wide))]
    assert len({one.id for one in run.findings}) == len(run.findings)
    stands = run.requirements[2]
    assert stands.estimate == pytest.approx(float((reach(x, y) > wide).mean()))
    assert reevaluate(run.record) == []


PROPERTIES = """\
properties:
  - {name: it holds, require: "y[ant] - y[bee] >= -100", box: [0, 1]}
  - {name: it does not, require: "y[ant] - y[bee] >= 0", box: [0, 1]}
  - {name: it's nobody's, output: cat, between: [-90, 90], box: [0, 1]}
"""


def stated(folder: Path, *requirements: str, text: str = PROPERTIES, **rest: Any) -> Run:
    (folder / "properties.yaml").write_text(text)
    return audited(folder, *requirements, properties="properties.yaml", **rest)


def test_properties_are_decided_and_requirements_take_their_verdicts(tmp_path: Path) -> None:
    asked = ["verified('it holds')", "verified('it does not')", "verified(\"it's nobody's\")", "accuracy >= 50 %"]
    run = stated(tmp_path, *asked)
    assert verdicts(run) == ["holds", "violated", "holds", "holds"]
    found = of_family(run, "property")
    assert [(one.title, one.verdict) for one in found] == [
        ("it holds", "holds"),
        ("it does not", "violated"),
        ("it's nobody's", "holds"),
    ]
    first, second, third = run.requirements[:3]
    assert [one.finding for one in first.evidence + second.evidence] == ["property/0", "property/1"]
    assert (first.demand, first.kind, first.evidence[0].value) == ("verified('it holds')", "sound", "verdict")
    assert third.demand == "verified(\"it's nobody's\")"
    assert f"proved, by {found[0].values['decided by'].value}" in first.sentence
    assert "an input beyond its limits was found" in second.sentence
    assert reevaluate(run.record) == []
    turned = [one.model_copy(update={"verdict": "holds"}) if one.id == "property/1" else one for one in run.findings]
    changed = run.record.model_copy(update={"findings": tuple(turned)})
    assert {(one.requirement, one.field) for one in reevaluate(changed)} >= {("R2", "verdict")}


def test_the_renderings_carry_what_is_proved(tmp_path: Path) -> None:
    serving = {"id": "P", "require": "verified('it does not')", "clauses": ["iso-24029-2 5.6", "iso-24029-2 5.3"]}
    run = stated(tmp_path, serving, VERIFIED, profiles=["iso-24029-2"])
    told = {name: content.decode() for name, content in renderings(run).items()}
    suite = fromstring(told["junit.xml"])
    broken = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    assert [
        name for name, failure in broken.items() if failure is not None and "was found" in str(failure.get("message"))
    ]
    rows = {row["clause"]: row for row in csv.DictReader(io.StringIO(told["trace.csv"]))}
    assert (rows["5.6"]["status"], rows["5.6"]["verdict"]) == ("evidence attached", "violated")
    assert "property/1" in rows["5.6"]["evidence"]
    assert rows["5.3"]["status"] == "evidence attached", "verification stands where bounds would"
    assert "an input beyond its limits was found" in told["summary.md"]
    page = render(run).html
    assert "The properties, whole" in page
    assert "rests on no sample" in page
    assert "are <b>proved</b> to stay right" in page
    assert "violates it, and the model was asked about it again" in page


def test_a_property_that_nothing_is_proved_of_is_not_decided_with_the_reason(tmp_path: Path) -> None:
    model, (x, y) = model_of(lambda batch: Scores()(batch).detach()), inputs()
    roles = Roles(data_of(model, x, y))
    run = stated(tmp_path, "verified('it holds')", "verified('it does not')", model=model, roles=roles)
    assert verdicts(run) == ["not decided", "not decided"]
    assert "the model is a black box" in run.requirements[0].sentence


def test_the_file_of_properties_stands_in_the_record_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> NoReturn:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(engine, "performance", broken)
        (tmp_path / "properties.yaml").write_text(PROPERTIES)
        model, (x, y) = model_of(), inputs()
        read, roles = (
            policy_of(tmp_path, "verified('it holds')", properties="properties.yaml"),
            Roles(data_of(model, x, y)),
        )
        with pytest.raises(Killed):
            audit(model, read, roles, folder=tmp_path / "kept")
    begun = AuditRecord.model_validate_json((tmp_path / "kept" / engine.BEGUN).read_text())
    assert begun.properties is not None
    assert begun.properties.text == PROPERTIES
    assert begun.properties.digest == hashlib.sha256(PROPERTIES.encode()).hexdigest()
    run = audit(model, read, roles, folder=tmp_path / "kept")
    assert run.record.audit is not None
    assert run.record.audit.properties == begun.properties
    assert verdicts(run) == ["holds"]
    (tmp_path / "properties.yaml").write_text(PROPERTIES.replace("-100", "-200"))
    with pytest.raises(OtherRunError, match="the properties differ"):
        audit(model, read, roles, folder=tmp_path / "kept")


def test_properties_and_images_that_were_decided_are_not_decided_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> NoReturn:
        raise AssertionError("it was decided before")

    (tmp_path / "properties.yaml").write_text(PROPERTIES)
    model, (x, y) = model_of(), inputs(8, 0)
    read = policy_of(tmp_path, "verified('it holds')", VERIFIED, properties="properties.yaml")
    roles, store = Roles(data_of(model, x, y)), MemoryStore()
    first = audit(model, read, roles, store=store, folder=tmp_path / "kept", jobs=2)
    monkeypatch.setattr(Judge, "decide", broken)
    again = audit(model, read, roles, store=store, folder=tmp_path / "kept", jobs=1)
    assert again.requirements == first.requirements
    for family in ("property", "verification"):
        assert [one.timeless() for one in of_family(again, family)] == [
            one.timeless() for one in of_family(first, family)
        ]
        assert of_family(first, family)[0].status == "ok"


@pytest.mark.parametrize(
    ("requirement", "text", "words"),
    [
        (
            "verified('it hold')",
            PROPERTIES,
            "line 8, column 3: R2: there is no property 'it hold'; did you mean 'it holds'",
        ),
        (
            "verified('it holds')",
            PROPERTIES.replace("it does not", "it holds"),
            "R2: 2 properties in properties.yaml have",
        ),
        (
            "accuracy >= 1 %",
            PROPERTIES.replace("ant]", "ants]"),
            "line 2, column 22: require: there is no output 'ants'",
        ),
        ("accuracy >= 1 %", "properties: []", "properties"),
        ("accuracy >= 1 %", None, "line 9, column 1: properties "),
    ],
)
def test_properties_that_are_not_there_or_do_not_fit_are_told_with_their_place(
    tmp_path: Path, requirement: str, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "properties.yaml").write_text(text)
    with pytest.raises(RefusedFileError) as caught:
        audited(tmp_path, "accuracy >= 50 %", requirement, properties="properties.yaml")
    assert words in str(caught.value), (tmp_path / "audit.yaml").read_text()


def test_a_property_without_a_file_of_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match=r"line 7, column 3: R1: verified\(p\) asks for a property, and the pol"):
        audited(tmp_path, "verified('p')")


def test_how_long_is_looked_for_a_proof_is_the_policys(tmp_path: Path) -> None:
    (found,) = of_family(audited(tmp_path, VERIFIED), "verification")
    assert found.parameters["timeout"] == 10
    run = stated(tmp_path, VERIFIED, verification={"seconds": 3})
    assert {one.parameters["timeout"] for one in run.findings if one.family in ("verification", "property")} == {3}


@pytest.mark.parametrize("name", ["calibration", "repetition", "cost"])
def test_a_measurement_that_breaks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def broken(*_: Any) -> NoReturn:
        raise ValueError("it broke")

    monkeypatch.setattr(engine, name, broken)
    run = audited(tmp_path, "ece <= 0.9", "accuracy >= 60 %")
    assert [one.status for one in of_family(run, name)] == ["failed"]
    assert verdicts(run) == ["not decided" if name == "calibration" else "holds", "holds"]


def test_what_breaks_does_not_keep_others_from_being_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine_parts.bounds

    def broken(data: Any, plan: Any, **rest: Any) -> Run:
        if plan.attack.norm.value == "linf":
            raise RuntimeError("it broke")
        return whole(data, plan, **rest)

    monkeypatch.setattr(engine_parts, "bounds", broken)
    run = audited(tmp_path, CERTIFIED, "certified_accuracy(l2, 0.02) >= 10 %")
    assert verdicts(run) == ["not decided", "holds"]


def test_a_black_box_is_asked_what_can_be_asked_of_it(tmp_path: Path) -> None:
    model, (x, y) = model_of(lambda batch: Scores()(batch).detach()), inputs()
    wanted = ["accuracy >= 60 %", ROBUST, CERTIFIED, VERIFIED, "robust_accuracy(square, 0.02) >= 10 %"]
    run = audited(tmp_path, *wanted, model=model, roles=Roles(data_of(model, x, y)))
    assert verdicts(run) == ["holds", "not decided", "not decided", "not decided", "holds"]
    assert "needs gradients" in run.requirements[1].sentence
    (searched,) = of_family(run, "verification")
    assert searched.status == "skipped"
    assert "Verified accuracy was skipped: it needs graph, and the model is a black box" in run.requirements[3].sentence
    assert not run.passed


def test_data_without_labels_decide_nothing_about_right_answers(tmp_path: Path) -> None:
    model, (x, _) = model_of(), inputs()
    demands = ["accuracy >= 10 %", ROBUST, CERTIFIED, VERIFIED, "worst_class_accuracy >= 1 %", "ece <= 1"]
    run = audited(tmp_path, *demands, model=model, roles=Roles(data_of(model, x, None)))
    assert set(verdicts(run)) == {"not decided"}
    assert any("own answer" in note for note in run.record.notes)


def test_a_group_that_must_be_there_and_is_not_is_told(tmp_path: Path) -> None:
    model, (x, y) = model_of(), inputs()
    run = audited(
        tmp_path,
        "worst_group_accuracy >= 10 %",
        "group_accuracy(day) >= 10 %",
        model=model,
        roles=Roles(data_of(model, x, y, ["day"] * 40)),
        data={"test": "data.npz", "groups": ["day", "night"]},
    )
    assert verdicts(run) == ["not decided", "holds"]
    assert "the policy names groups that no test image is of: night" in run.record.notes
    alone = audited(
        tmp_path, "worst_group_accuracy >= 10 %", model=model, roles=Roles(data_of(model, x, y, ["day"] * 40))
    )
    assert verdicts(alone) == ["holds"]


def test_outputs_that_are_not_numbers_count_as_wrong_everywhere(tmp_path: Path) -> None:
    x, y = inputs(40, 0)
    x[:30, 0, 0, 0] = 0
    model = model_of(Scores(broken=True))
    run = audited(
        tmp_path,
        "accuracy >= 60 %",
        "robust_accuracy(pgd, 0.001) >= 60 %",
        "certified_accuracy(0.001) >= 60 %",
        model=model,
        roles=Roles(data_of(model, x, y)),
        explanations={"right": 1, "wrong": 1, "least_sure": 1, "methods": ["occlusion"]},
    )
    assert verdicts(run)[:2] == ["violated", "violated"]
    assert verdicts(run)[2] == "violated", "no more than the right answers can be certified"
    assert run.record.model_validate_json(run.record.model_dump_json()) == run.record


def test_the_record_says_of_each_image_why_it_is_looked_at(tmp_path: Path) -> None:
    asked = {"right": 1, "wrong": 1, "least_sure": 1, "most_attacked": 0, "methods": ["occlusion"]}
    run = audited(tmp_path, "accuracy >= 60 %", explanations=asked)
    told = {one.id: one.chosen for one in run.record.inputs if one.chosen}
    assert sorted(why for reasons in told.values() for why in reasons) == ["least sure", "right", "wrong"]
    rows = {row["id"]: row for row in run["performance"].rows}
    assert all(rows[name]["right"] == ("right" in why) for name, why in told.items() if why != ("least sure",))
    assert not [note for note in run.record.notes if "looked at" in note]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            {"wrong": "robust_accuracy(pgdd, 0.1) >= 0.5"},
            "line 8, column 3: R2: there is no attack 'pgdd'; did you mean",
        ),
        ({"wrong": "corruption(jpg, 3) >= 0.5"}, "line 8, column 3: R2: there is no corruption 'jpg'"),
        ({"wrong": "certified_accuracy(8) >= 0.5"}, "line 8, column 3: R2: epsilon 8 "),
        ({"threat": {"epsilons": ["8"]}}, "line 9, column 1: threat: epsilon 8 "),
        ({"explanations": {"methods": ["gradcamm"]}}, "line 9, column 1: explanations: there is no"),
    ],
)
def test_what_does_not_exist_is_told_with_its_place(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    second = parts.pop("wrong", "accuracy >= 60 %")
    with pytest.raises(UsageError) as caught:
        audited(tmp_path, "accuracy >= 50 %", second, **parts)
    assert words in str(caught.value), (tmp_path / "audit.yaml").read_text()


def test_calibration_images_that_are_test_images_are_told(tmp_path: Path) -> None:
    model, (x, y) = model_of(), inputs(60)
    test, held = data_of(model, x[:40], y[:40]), data_of(model, x[30:], y[30:])
    run = audited(tmp_path, "accuracy >= 50 %", model=model, roles=Roles(test, held))
    assert "10 of the test images are calibration images, too" in " ".join(run.record.notes)
    apart = audited(tmp_path, "accuracy >= 50 %", model=model, roles=Roles(test, data_of(model, x[40:], y[40:])))
    assert "calibration images, too" not in " ".join(apart.record.notes)


def test_a_measure_that_is_required_judges_the_maps(tmp_path: Path) -> None:
    asked = {"right": 2, "wrong": 0, "least_sure": 0, "most_attacked": 0, "methods": ["occlusion"]}
    run = audited(tmp_path, "explanation.infidelity >= 0 as measured", explanations=asked)
    assert "infidelity" in {one.measure for finding in run.findings for one in finding.trust}
    assert run.requirements[0].n == 2


def test_too_few_images_for_detectors_leave_the_rest_standing(tmp_path: Path) -> None:
    model, (x, y) = model_of(), inputs(24)
    held = data_of(model, x[:8], y[:8])
    run = audited(
        tmp_path,
        "accuracy >= 10 %",
        "ood.auroc(noise) >= 10 %",
        model=model,
        roles=Roles(data_of(model, x, y), calibration=held),
    )
    assert verdicts(run) == ["holds", "not decided"]
    without = audited(tmp_path, "ood.auroc(noise) >= 10 %", model=model, roles=Roles(data_of(model, x, y)))
    assert verdicts(without) == ["not decided"]
    assert "calibration data" in without.requirements[0].sentence


def test_it_is_of_classifiers_and_of_images_that_can_be_read(tmp_path: Path) -> None:
    model, (x, y) = model_of(output="values"), inputs()
    with pytest.raises(UsageError, match="outputs are values"):
        audited(tmp_path, model=model, roles=Roles(data_of(model_of(), x, y)))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"\x89PNG")
    with pytest.raises(RefusedFileError, match="none of the 1 entries"):
        audited(tmp_path, model=model_of(), roles=Roles(open_data(tmp_path / "broken", model_of())))


def test_what_was_begun_is_gone_on_with_by_the_same_policy_alone(tmp_path: Path) -> None:
    model, (x, y) = model_of(), inputs()
    roles, read = Roles(data_of(model, x, y)), policy_of(tmp_path)
    store = MemoryStore()
    first = audit(model, read, roles, store=store, folder=tmp_path / "kept")
    again = audit(model, read, roles, store=store, folder=tmp_path / "kept")
    assert first.record.audit is not None
    assert again.record.audit is not None
    assert again.record.audit.policy.read == first.record.audit.policy.read
    assert [one.timeless() for one in again.findings] == [one.timeless() for one in first.findings]
    with pytest.raises(OtherRunError, match="the policies differ"):
        audit(model, policy_of(tmp_path, "accuracy >= 51 %"), roles, folder=tmp_path / "kept")


def test_a_network_that_draws_gives_one_record(tmp_path: Path) -> None:
    class Drawing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :4] + torch.rand(len(x), 4) * 0.1

    model, (x, y) = model_of(Drawing()), inputs()
    runs = [audited(tmp_path, ROBUST, model=model, roles=Roles(data_of(model, x, y))) for _ in range(2)]
    assert [one.timeless() for one in runs[0].findings] == [one.timeless() for one in runs[1].findings]
    repeated = next(one for one in runs[0].findings if one.id == "repetition")
    assert repeated.values["largest difference, asked twice"].value > 0.01  # type: ignore[operator]  # a number


class Killed(BaseException):
    """What nothing catches."""


def test_a_run_that_is_killed_anywhere_gives_the_same_record_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty kills, at random places before or after something is kept; each time another run goes on."""
    model, (x, y) = model_of(), inputs(300)
    asked = policy_of(tmp_path, "accuracy >= 60 %", CERTIFIED)
    kept, random, left = shards.keep, Random(7), [0]

    def keep(file: Path, text: str) -> None:
        left[0] -= 1
        done = random.random() < 0.5
        if left[0] or done:
            kept(file, text)
        if left[0] == 0:
            raise Killed

    def once(name: str) -> Run:
        (tmp_path / name).mkdir(exist_ok=True)
        store, data = FolderStore(tmp_path / name), Roles(data_of(model, x, y))
        return audit(model, asked, data, store=store, folder=tmp_path / name / "audit", jobs=2)

    whole = once("whole")
    monkeypatch.setattr(shards, "keep", keep)
    monkeypatch.setattr(engine, "keep", keep)
    kills = runs = 0
    while kills < 20:
        left[0] = random.randrange(1, 6)
        try:
            found = once(f"run{runs}")
        except Killed:
            kills += 1
        else:
            runs += 1
            assert [one.timeless() for one in found.findings] == [one.timeless() for one in whole.findings]
            assert found.requirements == whole.requirements
    assert runs >= 1
