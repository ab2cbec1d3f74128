"""Is a run what it was when it was written? Digests, artefacts, renderings and verdicts, computed again.

What is found here needs neither the model nor its data. A check that does gives a `Checked` of its own, and the two are
joined with `+`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from xai.errors import TamperedError, UsageError, XaiError
from xai.reports.artefacts import BYTES, NAMED, ROWS, FolderStore, get, get_bytes, get_rows
from xai.reports.audit import reevaluate
from xai.reports.derived import derived, differing
from xai.reports.diff import compare
from xai.reports.evidence import Evidence
from xai.reports.folder import (
    BEFORE,
    DIFF,
    DIFF_DATA,
    MANIFEST,
    MEASURED,
    OURS,
    RECORD,
    REPORT,
    artefacts_of,
    open_run,
    sha256_of,
)
from xai.reports.html.diff import render_diff
from xai.reports.html.page import SIDE_FOLDER, render
from xai.reports.records import Artefact, RunRecord
from xai.reports.renderings import renderings
from xai.reports.sheets import per_image
from xai.version import __version__

_PICTURE = re.compile(rb'"data:image/\w+;base64,[^"]*"')
_LISTED = TypeAdapter(dict[str, str])  # sha256 by name
NO_MODEL = "the model and its data: nothing was computed with them"  # engine/recheck does that
UNSIGNED = (
    "who wrote the run: digests show what was changed afterwards, and not a run that was made up whole; keep the "
    f"sha256 of {MANIFEST} where nobody can change it"
)


class Complaint(NamedTuple):
    """Something that is not as it was written.

    Args:
        what: a file, a finding or a requirement.
        words: what is wrong with it.
    """

    what: str
    words: str


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Args:
        done: what was checked, in words.
        complaints: what is not as it was written; none if nothing was found.
        unchecked: what could not be checked, and why.
    """

    done: tuple[str, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    unchecked: tuple[str, ...] = ()

    def __add__(self, other: Checked) -> Checked:
        """Return what both found."""
        return Checked(self.done + other.done, self.complaints + other.complaints, self.unchecked + other.unchecked)


def check(folder: Path) -> Checked:
    """Return what is not as it was written in a run's folder.

    Raises:
        UsageError: there is no run in that folder.
    """
    if not (folder / RECORD).exists() and not (folder / MANIFEST).exists():
        raise UsageError(f"{folder} is not a run's folder: there is neither {RECORD} nor {MANIFEST} in it")
    manifest, listed = _manifest(folder)
    record, read = _record(folder)
    found = listed + read
    if record is None:
        return found + Checked(unchecked=("everything that the record says: it cannot be read",))
    run = Evidence(record, FolderStore(folder))
    found += (
        _files(folder, manifest, record) + _artefacts(run) + _values(run) + _audit(record) + _renderings(run, folder)
    )
    found += _comparison(run, folder)
    return found + Checked(unchecked=(*_strangers(folder), NO_MODEL, UNSIGNED))


def _manifest(folder: Path) -> tuple[dict[str, Any], Checked]:
    """Read the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = _LISTED.validate_python(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {"files": {}}, Checked(complaints=(Complaint(MANIFEST, f"it cannot be read: {type(error).__name__}"),))
    return manifest, Checked(done=(f"{len(files)} files listed in {MANIFEST}",))


def _record(folder: Path) -> tuple[RunRecord | None, Checked]:
    """Read the record."""
    try:
        return RunRecord.model_validate_json((folder / RECORD).read_bytes()), Checked()
    except (OSError, ValidationError) as error:
        words = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error.strerror)
        return None, Checked(complaints=(Complaint(RECORD, f"it is no record: {words}"),))


def _files(folder: Path, manifest: dict[str, Any], record: RunRecord) -> Checked:
    """Compare the files with the manifest, and the manifest with the record."""
    files, wanted = manifest["files"], {RECORD, *artefacts_of(record)}
    complaints = [Complaint(name, words) for name in sorted(files) if (words := _changed(folder, name, files[name]))]
    complaints += [Complaint(name, f"it is not listed in {MANIFEST}") for name in sorted(wanted - set(files))]
    complaints += [
        Complaint(name, "it is listed, and the record knows nothing of it") for name in sorted(set(files) - wanted)
    ]
    said = {
        "model": {"digest": record.model.digest, "fingerprint": record.model.fingerprint},
        "inputs": {one.id: one.digest for one in record.inputs},
        "policy": record.audit.policy.digest if record.audit else None,
        "properties": record.audit.properties.digest if record.audit and record.audit.properties else None,
    }
    complaints += [
        Complaint(MANIFEST, f"its {name} is not the record's")
        for name, value in said.items()
        if manifest.get(name) != value
    ]
    held = {str(path.relative_to(folder)) for path in (folder / "artefacts").rglob("*") if not path.is_dir()}
    complaints += [Complaint(name, "the run did not write it") for name in sorted(held - set(files) - wanted)]
    return Checked(complaints=tuple(complaints))


def _changed(folder: Path, name: str, digest: str) -> str:
    """Return what is wrong with a listed file, "" if nothing is."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return "it lies outside of the run's folder"
    if path.is_symlink():
        return "it is a link"
    if not path.is_file():
        return "it is missing"
    try:
        return "" if sha256_of(path) == digest else f"its sha256 is not the one in {MANIFEST}"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def _artefacts(run: Evidence) -> Checked:
    """Read every artefact that the record names, and compare digest, shape and type."""
    held = {artefact.path: (what, artefact) for what, artefact in _named(run.record)}
    complaints = [Complaint(what, words) for what, artefact in held.values() if (words := _misread(run, artefact))]
    return Checked((f"{len(held)} artefacts, with digest, shape and type",), tuple(complaints))


def _named(record: RunRecord) -> Iterator[tuple[str, Artefact]]:
    for one in record.inputs:
        yield f"input {one.id}", one.prepared
    for finding in record.findings:
        for name, artefact in finding.artefacts.items():
            yield f"{finding.id}: {name}", artefact
        for trust in finding.trust:
            for name, artefact in trust.artefacts.items():
                yield f"{finding.id}: {trust.measure}: {name}", artefact


def _misread(run: Evidence, artefact: Artefact) -> str:
    """Return what is wrong with an artefact, "" if nothing is."""
    if artefact.path not in NAMED and Path(artefact.path).stem != artefact.sha256:
        return f"its file {artefact.path} is not named by its sha256"
    try:
        if artefact.dtype == ROWS:
            count = sum(1 for _ in get_rows(run.store, artefact))
            return "" if (count,) == artefact.shape else f"it has {count} rows, and the record says {artefact.shape[0]}"
        if artefact.dtype.startswith(BYTES):
            count = len(get_bytes(run.store, artefact))
            return (
                "" if (count,) == artefact.shape else f"it has {count} bytes, and the record says {artefact.shape[0]}"
            )
        array = get(run.store, artefact)
    except (TamperedError, ValueError) as error:
        return str(error)
    if (array.shape, str(array.dtype)) != (artefact.shape, artefact.dtype):
        return f"it is {array.dtype} of shape {array.shape}, and the record says {artefact.dtype} of {artefact.shape}"
    return ""


def _values(run: Evidence) -> Checked:
    """Derive values from the rows of single images, where they follow from them."""
    complaints, count = [], 0
    for finding in per_image(run.findings):
        try:
            rows = list(get_rows(run.store, finding.artefacts["rows"]))
            count += len(derived(finding, rows))
            wrong = differing(finding, rows)
        except (TamperedError, ValueError, TypeError, AttributeError) as error:
            complaints.append(Complaint(finding.id, f"its rows cannot be read: {error}"))
            continue
        complaints += [
            Complaint(finding.id, f"{name} is {told.value} on {told.n}, and its rows give {value.value} on {value.n}")
            for name, told, value in wrong
        ]
    return Checked((f"{count} values, from the rows of single images",), tuple(complaints))


def _audit(record: RunRecord) -> Checked:
    """Compare the policy with its digest and time, and decide every requirement again."""
    audit = record.audit
    if audit is None:
        return Checked()
    complaints = []
    if hashlib.sha256(audit.policy.text.encode()).hexdigest() != audit.policy.digest:
        complaints.append(Complaint("policy", "its sha256 is not that of its text"))
    if audit.properties and hashlib.sha256(audit.properties.text.encode()).hexdigest() != audit.properties.digest:
        complaints.append(Complaint("properties", "their sha256 is not that of their text"))
    if not _before(audit.policy.read, record.created):
        complaints.append(
            Complaint("policy", f"it was read {audit.policy.read}, and the run began {record.created}: not beforehand")
        )
    complaints += [
        Complaint(
            f"requirement {one.requirement}" if one.requirement else "policy",
            f"{one.field} is {one.recorded!r}, and policy and findings give {one.found!r}",
        )
        for one in reevaluate(record)
    ]
    return Checked((f"{len(audit.requirements)} requirements, decided again",), tuple(complaints))


def _before(first: str, second: str) -> bool:
    try:
        return datetime.fromisoformat(first) <= datetime.fromisoformat(second)
    except (ValueError, TypeError):
        return False


def _renderings(run: Evidence, folder: Path) -> Checked:
    """Make the renderings again, and compare."""
    made_by = run.record.versions.get("xai")
    if made_by != __version__:
        return Checked(
            unchecked=(
                f"the renderings: xai {made_by} made them, and this is {__version__}; xai report makes them again",
            )
        )
    try:
        page = render(run)
        wanted = {**renderings(run), **page.files, REPORT: page.html.encode()}
    except Exception as error:  # a record that was changed may not be drawn at all, in any way
        return Checked(complaints=(Complaint(REPORT, f"it cannot be made from the record: {type(error).__name__}"),))
    complaints, unchecked = [], []
    for name, content in wanted.items():
        given = _content(folder / name)
        if given is None:
            unchecked.append(f"{name}: it is not there; xai report makes it again")
        elif given != content and name == REPORT and _PICTURE.sub(b"", given) == _PICTURE.sub(b"", content):
            unchecked.append(f"the pictures in {name}: they are encoded otherwise here")
        elif given != content and name.startswith(SIDE_FOLDER):
            unchecked.append(f"{name}: it is encoded otherwise here")
        elif given != content:
            complaints.append(Complaint(name, "it is not what the record gives; xai report makes it again"))
    return Checked((f"{len(wanted)} renderings, made again",), tuple(complaints), tuple(unchecked))


def _comparison(run: Evidence, folder: Path) -> Checked:
    """Check the run beside a training, its parent's measurement, and compare the two again."""
    digest = next((one.parameters[MEASURED] for one in run.findings if MEASURED in one.parameters), None)
    if digest is None:
        return Checked()
    try:
        inner = check(folder / BEFORE)
    except XaiError as error:
        return Checked(complaints=(Complaint(BEFORE, str(error)),))
    complaints = [Complaint(f"{BEFORE}/{one.what}", one.words) for one in inner.complaints]
    try:
        parent = open_run(folder / BEFORE)
    except XaiError as error:
        return Checked(complaints=(*complaints, Complaint(f"{BEFORE}/{RECORD}", str(error))))
    if sha256_of(folder / BEFORE / RECORD) != digest:
        complaints.append(Complaint(f"{BEFORE}/{RECORD}", "it is not the one that the training measured"))
    found = compare(parent, run)
    wanted = {DIFF_DATA: found.model_dump_json(indent=1) + "\n", DIFF: render_diff(found)}
    for name, text in wanted.items():
        if _content(folder / name) != text.encode():
            complaints.append(Complaint(name, f"it is not what {BEFORE} and this run give: xai diff makes it again"))
    return Checked(("the parent's measurement, and the comparison, made again",), tuple(complaints))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None


def _strangers(folder: Path) -> Iterator[str]:
    """Yield what lies in the folder and is none of the run's."""
    yield from (f"{path.name}: no run wrote it" for path in sorted(folder.iterdir()) if path.name not in OURS)
