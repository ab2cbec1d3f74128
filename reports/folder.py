"""The run folder: written beside its place and renamed at the end: a killed run is never taken for a whole one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xai.errors import RefusedFileError, TamperedError, UsageError, XaiError
from xai.reports.artefacts import FOLDER, NAMED, FolderStore
from xai.reports.evidence import Evidence
from xai.reports.html.page import SIDE_FOLDER, render
from xai.reports.records import SCHEMA, Artefact, Finding, RunRecord
from xai.reports.renderings import RENDERINGS, renderings

RECORD, MANIFEST, REPORT = "record.json", "manifest.json", "report.html"
LOCK = ".lock"  # in the folder that is written to
MEASURED = "parent's measurement"  # the parameter of a training that holds the sha256 of that record
BEFORE, DIFF, DIFF_DATA, LOGS = "before", "diff.html", "diff.json", "logs"  # of a training: its parent's run, ...
OURS = {RECORD, MANIFEST, REPORT, FOLDER, SIDE_FOLDER, *RENDERINGS, *NAMED, BEFORE, DIFF, DIFF_DATA, LOGS}
if sys.platform != "win32":  # which has no such locks
    import fcntl


def free_folder(verb: str, stem: str, base: Path = Path("xai-runs")) -> Path:
    """Return the first of base/<verb>-<stem>-<n> that is not taken."""
    name = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in stem)[:80].strip(".-") or "model"
    number = 1
    while any((base / f"{verb}-{name}-{number}{end}").exists() for end in ("", ".partial")):
        number += 1
    return base / f"{verb}-{name}-{number}"


@contextmanager
def writing(
    folder: Path, *, overwrite: bool = False, resume: bool = False, checkpoint: str | None = None
) -> Iterator[Path]:
    """Give a folder to write to, which takes the wanted place if the body ends well and vanishes if it does not.

    Args:
        folder: the wanted place.
        overwrite: whether an earlier run there is replaced.
        resume: whether to go on in the folder that a killed run left; without one it begins.
        checkpoint: a folder inside that keeps what is done: while it holds something, the whole outlives a failure,
            but for what was asked wrongly from the beginning. It is removed at the end.

    Raises:
        UsageError: the place is taken, another run is writing there, or it cannot be written to.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  # resolve() would follow a link
    _check_free(folder, overwrite)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    partial = folder.with_name(f"{folder.name}.partial")
    earlier = partial.is_dir()
    _begin(folder, partial, overwrite=overwrite, resume=resume, checkpoint=checkpoint)
    lock = _lock(partial)
    unfinished = partial / checkpoint if checkpoint else None
    keep = False
    try:
        try:
            yield partial
        except BaseException as error:
            begun = bool(unfinished and unfinished.is_dir() and any(unfinished.iterdir()))
            keep = resume and earlier if isinstance(error, UsageError | RefusedFileError) else begun
            raise
        if unfinished:
            shutil.rmtree(unfinished, ignore_errors=True)
        (partial / LOCK).unlink()
        _replace(folder, partial)
    except OSError as error:
        raise XaiError(f"output folder {folder} cannot be written: {error.strerror or error}") from error
    finally:
        if not keep:
            shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)
        for parent in new_parents:
            with suppress(OSError):  # it holds something, so it stays
                parent.rmdir()


def _begin(folder: Path, partial: Path, *, overwrite: bool, resume: bool, checkpoint: str | None) -> None:
    """Make the folder that is written to, or take the one that a killed run left."""
    try:
        if overwrite and partial.exists():
            _check_free(partial, overwrite=True, ours={LOCK, checkpoint or LOCK})
            os.close(_lock(partial))
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=resume)
    except FileExistsError:
        way = "go on there with --resume, " if checkpoint else ""
        raise UsageError(
            f"{partial} exists: another run is writing there, or one was killed; {way}remove it or give --overwrite"
        ) from None
    except OSError as error:
        raise UsageError(
            f"output folder {folder} cannot be written: {error.strerror}; choose another with -o"
        ) from error


def _lock(partial: Path) -> int:
    """Hold a folder for this process; the system lets it go when the process ends, however it does.

    Returns:
        The file descriptor that holds it.

    Raises:
        UsageError: another run holds it.
    """
    nofollow = getattr(os, "O_NOFOLLOW", 0)
    try:
        lock = os.open(partial / LOCK, os.O_RDWR | os.O_CREAT | nofollow, 0o600)
    except OSError as error:
        raise UsageError(
            f"output folder {partial} cannot be written: {error.strerror}; choose another with -o"
        ) from error
    try:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(lock).st_nlink > 0  # the run before may have ended, and removed it, in between
    except OSError:
        held = False
    if not held:
        os.close(lock)
        raise UsageError(f"another run is writing to {partial}: wait for its end, or choose another folder with -o")
    return lock


def _replace(folder: Path, fresh: Path) -> None:
    """Put a fresh folder in place; an earlier one goes only when the fresh one stands."""
    if not folder.exists():
        fresh.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}."))
    try:
        folder.rename(aside / "earlier")
        fresh.rename(folder)
    finally:
        if not folder.exists():
            (aside / "earlier").rename(folder)
        shutil.rmtree(aside, ignore_errors=True)


def publish(run: Evidence, partial: Path) -> None:
    """Write record, renderings and manifest of a run whose artefacts lie in the folder already."""
    _write(partial, RECORD, written(run.record))
    _render(run, partial)
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA,
        "files": {name: sha256_of(partial / name) for name in [RECORD, *artefacts_of(run.record)]},
        "model": {"digest": run.record.model.digest, "fingerprint": run.record.model.fingerprint},
        "inputs": {record.id: record.digest for record in run.record.inputs},
    }
    if run.record.audit:
        manifest["policy"] = run.record.audit.policy.digest
        if run.record.audit.properties:
            manifest["properties"] = run.record.audit.properties.digest
    _write(partial, MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def written(record: RunRecord) -> bytes:
    """Return a record as it is written."""
    return (record.model_dump_json(indent=1) + "\n").encode()


def save(run: Evidence, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a whole run to a folder; return the report's path."""
    with writing(folder, overwrite=overwrite) as partial:
        store = FolderStore(partial)
        for name in artefacts_of(run.record):
            store.write(name, run.store.read(name))
        publish(run, partial)
    return folder / REPORT


def open_run(folder: Path) -> Evidence:
    """Read a run back.

    Raises:
        UsageError: there is no run in that folder.
        RefusedFileError: the record is not one that is read here.
        TamperedError: the record is not the one that the manifest lists.
    """
    if not (folder / RECORD).is_file():
        raise UsageError(f"{folder} is not a run's folder: there is no {RECORD} in it")
    try:
        content = (folder / RECORD).read_bytes()
        record = RunRecord.model_validate_json(content)
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"][RECORD]
    except ValidationError as error:
        first = error.errors()[0]
        told = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise RefusedFileError(f"{folder / RECORD} is not a record of schema {SCHEMA}: {told}") from error
    except FileNotFoundError as error:
        raise RefusedFileError(
            f"{folder} is not a whole run: {MANIFEST}, which shows that the rest is as it was written, is missing"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedFileError(f"{folder / MANIFEST} cannot be read: {type(error).__name__}: {error}") from error
    if hashlib.sha256(content).hexdigest() != listed:
        raise TamperedError(f"{folder / RECORD} was changed after the run: its sha256 differs from the manifest's")
    return Evidence(record, FolderStore(folder))


def rerender(folder: Path) -> Path:
    """Make a run's renderings again from its record; return the report's path."""
    run = open_run(folder)
    try:
        _render(run, folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    return folder / REPORT


def _render(run: Evidence, folder: Path) -> None:
    page = render(run)
    for name, content in page.files.items():
        _write(folder, name, content)
    for name, content in renderings(run).items():
        _write(folder, name, content)
    _write(folder, REPORT, page.html.encode())


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a run's folder, all or nothing; a link in its place is replaced, never followed."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise TamperedError(f"{path.parent} points outside the run's folder")
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        fresh = Path(file.name)
    try:
        fresh.write_bytes(content)
        fresh.chmod(0o644)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _check_free(folder: Path, overwrite: bool, ours: Iterable[str] = ()) -> None:
    """Refuse a place that holds something; overwriting replaces earlier runs only."""
    if folder.is_symlink() or folder in (Path.cwd(), *Path.cwd().parents):
        raise UsageError(f"output folder {folder} is a link or the working folder; name a new one with -o")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"output folder {folder} is a file; choose another with -o")
    held = {path.name for path in folder.iterdir()}
    if held and not overwrite:
        raise UsageError(f"output folder {folder} is not empty; choose another with -o, or give --overwrite")
    if foreign := sorted(held - OURS - set(ours)):
        raise UsageError(
            f"output folder {folder} holds {foreign[0]!r}, which no run wrote; nothing was overwritten, choose another"
        )


def artefacts_of(record: RunRecord) -> list[str]:
    """Return the paths of all artefacts that a record names."""
    found = [entry.prepared.path for entry in record.inputs]
    found += [artefact.path for finding in record.findings for artefact in _held(finding)]
    return sorted({path for path in found if path.startswith(f"{FOLDER}/") or path in NAMED})


def _held(finding: Finding) -> list[Artefact]:
    return [*finding.artefacts.values(), *(kept for trust in finding.trust for kept in trust.artefacts.values())]


def sha256_of(path: Path) -> str:
    """Return a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
