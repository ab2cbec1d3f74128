"""Tampering with a run: each kind is found and named, also where the manifest was written anew to hide it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.house.test_import import BLOCK
from tests.reports.audits import audited
from tests.reports.test_trace import PROFILE
from xai.errors import UsageError
from xai.reports.artefacts import FolderStore, get_rows, put_rows
from xai.reports.check import UNSIGNED, Checked, Complaint, check
from xai.reports.folder import open_run
from xai.reports.run import Run
from xai.version import __version__


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = audited(tmp_path, (PROFILE,))
    record = run.record.model_copy(update={"versions": {"xai": __version__}})
    Run(record, run.store).save(tmp_path / "run")
    return tmp_path / "run"


def edited(folder: Path, change: Callable[[Any], object], *, hidden: bool = True) -> None:
    """Change the record's data; `hidden` writes manifest and renderings anew, as one would who wants to deceive."""
    record = json.loads((folder / "record.json").read_text())
    change(record)
    (folder / "record.json").write_text(json.dumps(record))
    if hidden:
        rehashed(folder)


def rehashed(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        if (folder / name).is_file():
            manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def whats(found: Checked) -> set[str]:
    return {one.what for one in found.complaints}


def listed(folder: Path, end: str) -> str:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return next(name for name in files if name.endswith(end))


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def relist(folder: Path, change: Callable[[Any], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def other_rows(folder: Path) -> None:
    """Make an image right that was wrong, with digests that fit."""
    run = open_run(folder)
    artefact = run.findings[0].artefacts["rows"]
    rows = [{**row, "right": True} for row in get_rows(run.store, artefact)]
    fresh = put_rows(FolderStore(folder), rows)
    edited(folder, lambda record: record["findings"][0]["artefacts"].update(rows=fresh.model_dump()), hidden=False)
    (folder / artefact.path).unlink()
    relist(folder, lambda manifest: manifest["files"].update({fresh.path: fresh.sha256}))
    relist(folder, lambda manifest: manifest["files"].pop(artefact.path))
    rehashed(folder)


def link(folder: Path) -> None:
    name = listed(folder, ".npy")
    (folder.parent / "copy.npy").write_bytes((folder / name).read_bytes())
    (folder / name).unlink()
    (folder / name).symlink_to(folder.parent / "copy.npy")


def requirement(record: Any, name: str) -> Any:
    return next(one for one in record["audit"]["requirements"] if one["id"] == name)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of an array": (lambda f: flip(f / listed(f, ".npy")), ".npy"),
    "a bit of the rows": (lambda f: flip(f / listed(f, ".jsonl"), 40), ".jsonl"),
    "an array that is gone": (lambda f: (f / listed(f, ".npy")).unlink(), ".npy"),
    "an array that is a link": (link, ".npy"),
    "an array that was added": (lambda f: np.save(f / "artefacts" / "more.npy", np.zeros(2)), "artefacts/more.npy"),
    "the record, plainly": (
        lambda f: edited(f, lambda r: r["model"].update(name="other"), hidden=False), "record.json"
    ),
    "the record, to what is none": (lambda f: (f / "record.json").write_text("{}"), "record.json"),
    "a record that is gone": (lambda f: (f / "record.json").unlink(), "record.json"),
    "a manifest that is gone": (lambda f: (f / "manifest.json").unlink(), "manifest.json"),
    "a manifest that lists less": (
        lambda f: relist(f, lambda m: m["files"].pop(listed(f, ".npy"))), ".npy"
    ),
    "a manifest that lists more": (lambda f: relist(f, lambda m: m["files"].update(x="0")), "x"),
    "the manifest's model": (lambda f: relist(f, lambda m: m["model"].update(digest="0")), "manifest.json"),
    "the model's digest in the record": (
        lambda f: edited(f, lambda r: r["model"].update(digest="9" * 64)), "manifest.json"
    ),
    "an input's digest in the record": (
        lambda f: edited(f, lambda r: r["inputs"][0].update(digest="9" * 64)), "manifest.json"
    ),
    "a verdict": (
        lambda f: edited(f, lambda r: requirement(r, "ROB").update(verdict="holds")), "requirement ROB"
    ),
    "a threshold": (
        lambda f: edited(
            f, lambda r: requirement(r, "ROB").update(demand="robust_accuracy(standard, 2/255) >= 9 %")
        ),
        "requirement ROB",
    ),
    "a requirement that is gone": (
        lambda f: edited(f, lambda r: r["audit"]["requirements"].pop(1)), "requirement ROB"
    ),
    "the policy's text": (
        lambda f: edited(f, lambda r: r["audit"]["policy"].update(text=r["audit"]["policy"]["text"] + "\n")), "policy"
    ),
    "the policy, with its digest": (
        lambda f: edited(f, lambda r: lowered(r["audit"]["policy"])), "requirement ROB"
    ),
    "the policy's time": (
        lambda f: edited(f, lambda r: r["audit"]["policy"].update(read="2027-01-01T00:00:00+00:00")), "policy"
    ),
    "a value": (
        lambda f: edited(f, lambda r: r["findings"][0]["values"]["accuracy"].update(value=0.99)), "robustness"
    ),
    "how many images there are": (
        lambda f: edited(f, lambda r: r["findings"][0]["values"]["accuracy"].update(n=2000)), "robustness"
    ),
    "an interval": (
        lambda f: edited(f, lambda r: r["findings"][0]["values"]["accuracy"].update(interval=[0.94, 0.96])),
        "robustness",
    ),
    "the size of an attack": (
        lambda f: edited(f, lambda r: r["findings"][0]["parameters"].update({"epsilon 2/255": 0.001})), "robustness"
    ),
    "a finding that is gone": (lambda f: edited(f, lambda r: r["findings"].pop(3)), "requirement FAST"),
    "the rows of images, with all digests": (other_rows, "robustness"),
    "an artefact outside of the folder": (
        lambda f: edited(f, lambda r: r["inputs"][0]["prepared"].update(path="../audit.yaml")), "input star"
    ),
    "an artefact's shape": (
        lambda f: edited(f, lambda r: r["inputs"][0]["prepared"].update(shape=[3, 4, 16])), "input star"
    ),
    "the page": (lambda f: swapped(f / "report.html", "Violated", "Holds"), "report.html"),
    "the summary": (lambda f: swapped(f / "summary.md", "Violated", "Holds"), "summary.md"),
    "the JUnit file": (lambda f: swapped(f / "junit.xml", "failure", "skipped"), "junit.xml"),
    "the trace": (lambda f: swapped(f / "trace.csv", "partial", "evidence attached"), "trace.csv"),
    "the table of images": (lambda f: swapped(f / "samples.csv", "False", "True"), "samples.csv"),
}  # fmt: skip


def lowered(policy: Any) -> None:
    policy["text"] = policy["text"].replace(">= 90 %", ">= 9 %")
    policy["digest"] = hashlib.sha256(policy["text"].encode()).hexdigest()


def swapped(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_nothing_is_found_in_a_run_as_it_was_written(folder: Path) -> None:
    found = check(folder)
    assert found.complaints == ()
    assert found.done == (
        "5 files listed in manifest.json",
        "4 artefacts, with digest, shape and type",
        "2 values, from the rows of single images",
        "6 requirements, decided again",
        "5 renderings, made again",
    )
    assert found.unchecked[-1] == UNSIGNED


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_tampering_is_found_and_named(folder: Path, kind: str) -> None:
    tamper, what = KINDS[kind]
    tamper(folder)
    found = check(folder)
    assert any(name.endswith(what) for name in whats(found)), found.complaints


def test_what_hides_well_is_found_by_what_follows_from_it_alone(folder: Path) -> None:
    """With the manifest written anew no digest of a file differs: the record contradicts itself."""
    KINDS["a value"][0](folder)
    assert not any("sha256" in one.words for one in check(folder).complaints)
    assert Complaint("robustness", "accuracy is 0.99 on 200, and its rows give 0.95 on 200") in check(folder).complaints


def test_a_folder_without_a_run_is_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run's folder"):
        check(tmp_path)


def test_another_versions_renderings_are_not_judged() -> None:
    found = check(ROOT / "tests" / "golden")
    assert found.complaints == ()
    assert any("xai 0 made them" in line for line in found.unchecked)


def test_pictures_of_another_encoder_are_no_tampering_and_a_stranger_is_named(folder: Path) -> None:
    page = folder / "report.html"
    page.write_bytes(page.read_bytes().replace(b";base64,", b";base64,AAAA"))
    (folder / "notes.txt").write_text("mine")
    (folder / "summary.md").unlink()
    found = check(folder)
    assert found.complaints == ()
    assert {"notes.txt: no run wrote it", "summary.md: it is not there; xai report makes it again"} <= {
        *found.unchecked
    }
    assert any(line.startswith("the pictures in report.html") for line in found.unchecked)


def test_any_damage_to_the_record_is_told_and_never_a_traceback(folder: Path) -> None:
    content = (folder / "record.json").read_bytes()
    for place in range(0, len(content), max(1, len(content) // 40)):
        changed = bytearray(content)
        changed[place] = (changed[place] + 1) % 128
        (folder / "record.json").write_bytes(changed)
        assert check(folder).complaints, place


def test_two_checks_are_joined() -> None:
    both = Checked(("a",), (Complaint("x", "y"),)) + Checked(("b",), unchecked=("c",))
    assert both == Checked(("a", "b"), (Complaint("x", "y"),), ("c",))


def test_the_command_needs_no_torch_and_exits_with_1_for_tampering(folder: Path) -> None:
    code = BLOCK + f"from xai.cli.main import run; sys.exit(run(['check', {str(folder)!r}]))"

    def told() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})

    clean = told()
    assert clean.returncode == 0, clean.stderr
    assert "✓ 6 requirements, decided again" in clean.stdout
    assert "not checked: the model and its data" in clean.stderr
    KINDS["a verdict"][0](folder)
    assert told().returncode == 1
    assert "✗ requirement ROB: verdict is 'holds', and policy and findings give 'violated'" in told().stdout


def test_properties_that_the_policy_does_not_name_or_whose_text_was_changed_are_found(folder: Path) -> None:
    given = {"source": "properties.yaml", "digest": "0" * 64, "text": "properties: []"}
    edited(folder, lambda record: record["audit"].update(properties=given))
    found = check(folder)
    assert Complaint("properties", "their sha256 is not that of their text") in found.complaints
    assert Complaint("manifest.json", "its properties is not the record's") in found.complaints
    told = [one.words for one in found.complaints if one.what == "policy"]
    assert told == ["properties is 'properties.yaml', and policy and findings give 'none'"]
