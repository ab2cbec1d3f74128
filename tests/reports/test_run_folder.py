"""The run folder: whole or absent, lossless, checked on reading, and rendered again without torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import IMAGES
from tests.house.test_import import BLOCK
from xai.api import explain
from xai.errors import AnalysisError, RefusedFileError, TamperedError, UsageError, XaiError
from xai.models.model import Model
from xai.reports.folder import free_folder, open_run, rerender, writing
from xai.reports.records import Finding, RunRecord, Value
from xai.reports.run import Run


@pytest.fixture(scope="module")
def run(shapes: Model) -> Run:
    return explain(shapes, [IMAGES / "star.png", IMAGES / "ring.png"])


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    run.save(tmp_path / "run")
    return tmp_path / "run"


def test_a_record_survives_its_json(run: Run) -> None:
    assert RunRecord.model_validate_json(run.record.model_dump_json()) == run.record


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Value(value=float("nan"))


def test_records_are_frozen(run: Run) -> None:
    with pytest.raises(ValueError, match="frozen"):
        run.findings[0].status = "failed"


def test_what_is_read_back_is_what_was_written(run: Run, folder: Path) -> None:
    again = open_run(folder)
    assert again.record == run.record
    for finding in run.findings:
        for name in finding.artefacts:
            assert np.array_equal(again.array(finding, name), run.array(finding, name))
    for record in run.record.inputs:
        assert np.array_equal(again.prepared(record), run.prepared(record))


def test_maps_are_raw_float32_of_the_inputs_size(run: Run, folder: Path) -> None:
    for finding in (one for one in run.findings if one.family == "explanation"):
        raw = np.load(folder / finding.artefacts["map"].path, allow_pickle=False)
        assert raw.dtype == np.float32
        assert raw.shape == (64, 64)
    occlusion = run["occlusion", "star"]
    assert occlusion.map.min() < 0 < occlusion.map.max()


def test_the_manifest_lists_every_file_with_its_sha256(run: Run, folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json", "report.html"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert manifest["inputs"]["star"] == hashlib.sha256((IMAGES / "star.png").read_bytes()).hexdigest()


def test_the_same_request_gives_the_same_findings(shapes: Model, run: Run) -> None:
    again = explain(shapes, [IMAGES / "star.png", IMAGES / "ring.png"])

    def timeless(record: RunRecord) -> list[Finding]:
        return [finding.timeless() for finding in record.findings]

    assert timeless(again.record) == timeless(run.record)
    assert again.record.inputs == run.record.inputs


def test_a_report_is_made_again_without_torch(folder: Path) -> None:
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    code = BLOCK + f"from xai.cli.main import run; sys.exit(run(['report', {str(folder)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").read_text() == before


def test_a_changed_artefact_is_found(run: Run, folder: Path) -> None:
    path = folder / run.findings[0].artefacts["map"].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TamperedError, match="was changed after the run"):
        rerender(folder)


def test_a_missing_artefact_is_found(run: Run, folder: Path) -> None:
    (folder / run.findings[0].artefacts["map"].path).unlink()
    with pytest.raises(TamperedError, match="missing"):
        rerender(folder)


def test_a_changed_record_is_found(folder: Path) -> None:
    path = folder / "record.json"
    path.write_text(path.read_text().replace('"star"', '"moon"'))
    with pytest.raises(TamperedError, match=r"record\.json was changed"):
        rerender(folder)


def test_an_artefact_outside_the_folder_is_refused(folder: Path) -> None:
    secret = folder.parent / "secret.npy"
    np.save(secret, np.zeros(3))
    record = json.loads((folder / "record.json").read_text())
    record["findings"][0]["artefacts"]["map"]["path"] = "../secret.npy"
    content = json.dumps(record).encode()
    (folder / "record.json").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["record.json"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TamperedError, match="outside"):
        rerender(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema_version": "xai.run/9"}', "\x00\xff"])
def test_what_is_no_record_is_refused(folder: Path, content: str) -> None:
    (folder / "record.json").write_text(content)
    with pytest.raises(RefusedFileError, match=r"is not a record of schema xai\.run/1: \w"):
        rerender(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": []}'])
def test_a_broken_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(RefusedFileError, match="cannot be read"):
        rerender(folder)


def test_a_folder_without_a_manifest_is_no_whole_run(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(RefusedFileError, match=r"is not a whole run: manifest\.json.* is missing"):
        rerender(folder)


def test_a_link_in_the_folder_is_replaced_and_never_followed(folder: Path) -> None:
    victim = folder.parent / "victim.txt"
    victim.write_text("mine")
    (folder / "report.html").unlink()
    (folder / "report.html").symlink_to(victim)
    rerender(folder)
    assert victim.read_text() == "mine"
    assert not (folder / "report.html").is_symlink()


def test_files_that_no_run_wrote_are_not_overwritten(run: Run, folder: Path) -> None:
    (folder / "notes.md").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'notes.md', which no run wrote"):
        run.save(folder, overwrite=True)


def test_an_interrupted_overwrite_keeps_the_earlier_run(folder: Path) -> None:
    before = (folder / "record.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), writing(folder, overwrite=True):
        raise KeyboardInterrupt
    assert (folder / "record.json").read_bytes() == before


def test_neighbours_of_the_folder_are_left_alone(run: Run, folder: Path) -> None:
    for name in ("run.old", "run.1"):
        (folder.parent / name).mkdir()
        (folder.parent / name / "thesis.txt").write_text("mine")
    run.save(folder, overwrite=True)
    assert {path.name for path in folder.parent.iterdir()} == {"run", "run.old", "run.1"}
    assert (folder.parent / "run.old" / "thesis.txt").read_text() == "mine"


def test_a_foreign_folder_called_partial_is_not_removed(run: Run, folder: Path) -> None:
    (folder.parent / "run.partial").mkdir()
    (folder.parent / "run.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'thesis.txt'"):
        run.save(folder, overwrite=True)
    assert (folder.parent / "run.partial" / "thesis.txt").read_text() == "mine"


def test_an_overwrite_that_fails_at_the_last_step_keeps_the_earlier_run(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "record.json").read_bytes()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(XaiError, match="Input/output error"):
        run.save(folder, overwrite=True)
    assert (folder / "record.json").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run's folder"):
        rerender(tmp_path)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        with writing(folder) as partial:
            (partial / "half").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        half(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_being_written_is_not_disturbed(run: Run, tmp_path: Path) -> None:
    with writing(tmp_path / "out") as partial:
        with pytest.raises(UsageError, match="another run is writing there"):
            run.save(tmp_path / "out")
        assert partial.is_dir()


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_of_two_runs_in_one_folder_the_second_is_refused(tmp_path: Path, option: str) -> None:
    out = tmp_path / "out"
    with writing(out, resume=True, checkpoint="shards") as partial:
        (partial / "report.html").write_text("x")
        with (
            pytest.raises(UsageError, match="another run is writing"),
            writing(out, checkpoint="shards", overwrite=option == "overwrite", resume=option == "resume"),
        ):
            pass
        (partial / "report.html").rename(partial / "record.json")
    assert [path.name for path in out.iterdir()] == ["record.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_place_of_a_killed_run_is_free_again(tmp_path: Path) -> None:
    """The system lets a lock go with its process, whatever ended that."""
    code = (
        "import os, sys, pathlib; from xai.reports.folder import writing\n"
        "with writing(pathlib.Path(sys.argv[1]), checkpoint='shards') as partial:\n"
        "    (partial / 'shards').mkdir(); (partial / 'shards' / '0').touch(); os.kill(os.getpid(), 9)"
    )
    for name, options in (("one", {"resume": True}), ("two", {"overwrite": True})):
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path / name)]).returncode == -9
        assert (tmp_path / f"{name}.partial" / "shards" / "0").exists()
        with writing(tmp_path / name, checkpoint="shards", **options) as partial:
            assert (partial / "shards" / "0").exists() == (name == "one")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["one", "two"]


def test_an_earlier_run_is_replaced_only_if_asked(run: Run, folder: Path) -> None:
    with pytest.raises(UsageError, match="is not empty"):
        run.save(folder)
    assert run.save(folder, overwrite=True) == folder / "report.html"


def test_names_of_folders_are_safe_and_free(tmp_path: Path) -> None:
    assert free_folder("explain", "../../etc/pass wd", tmp_path).parent == tmp_path
    (tmp_path / "explain-net-1").mkdir()
    (tmp_path / "explain-net-2.partial").mkdir()
    assert free_folder("explain", "net", tmp_path).name == "explain-net-3"


def test_findings_are_reached_by_method_and_input(run: Run) -> None:
    assert run["gradcam", "star"].record.input == "star"
    assert run["gradcam", "star", "star"].record == run["gradcam", "star"].record
    with pytest.raises(UsageError, match="no input or target 'ring'"):
        _ = run["gradcam", "star", "ring"]
    with pytest.raises(UsageError, match=r"2 findings of gradcam; .* too: run\['gradcam', 'star', 'star'\]"):
        run["gradcam"]
    with pytest.raises(UsageError, match="did you mean 'gradcam'"):
        run["gradcan"]
    with pytest.raises(UsageError, match="did you mean 'star'"):
        run["gradcam", "stars"]


def test_a_skipped_finding_has_no_map(run: Run) -> None:
    skipped = run.findings[0].model_copy(update={"status": "skipped", "reason": "does not apply"})
    other = Run(run.record.model_copy(update={"findings": (skipped,)}), run.store)
    with pytest.raises(AnalysisError, match="was skipped: does not apply"):
        _ = other["gradcam"].map


def test_show_draws_picture_map_and_colour_bar(run: Run) -> None:
    figure = run["occlusion", "star"].show()
    assert len(figure.axes) == 3
    low, high = figure.axes[1].images[1].get_clim()
    assert low == -high
    assert figure.axes[2].get_ylabel() == "drop of the target's output"
