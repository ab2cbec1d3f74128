"""The command line as its users use it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import IMAGES
from tests.networks import Small, seeded
from xai.api import explain, load
from xai.cli.main import run
from xai.cli.terminal import plain
from xai.data.samples import SUFFIXES
from xai.reports.folder import open_run
from xai.reports.records import RunRecord

DIGIT = str(IMAGES.parents[1] / "digits" / "images" / "3.png")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_json_prints_the_record_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "sample:shapes", str(IMAGES / "star.png"), "--json", "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert RunRecord.model_validate_json(captured.out) == open_run(here / "out").record
    assert captured.err == ""


def test_the_reports_path_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "sample:shapes", str(IMAGES / "star.png")]) == 0
    assert run(["explain", "sample:shapes", str(IMAGES / "star.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"xai-runs/explain-shapes-{number}/report.html" for number in (1, 2)]
    assert all(Path(line).is_file() for line in lines)


def test_the_recorded_command_makes_the_run_again(here: Path) -> None:
    options = ["--methods", "occlusion", "--target", "star", "--set", "occlusion.window=9", "--seed", "4"]
    assert run(["explain", "sample:shapes", str(IMAGES / "ring.png"), *options, "-o", "one"]) == 0
    first = open_run(here / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    second = open_run(here / "two")
    assert second.record.findings[0].artefacts == first.record.findings[0].artefacts
    assert second.record.command == first.record.command


def test_the_recorded_call_makes_the_run_again(here: Path) -> None:
    first = explain(
        load("sample:shapes", classes=tuple("abcdef")), [IMAGES / "ring.png"], target="b", methods=["gradcam"]
    )
    namespace: dict[str, object] = {}
    exec(f"import xai\nrun = {first.record.command}", namespace)
    assert namespace["run"].record.findings[0].artefacts == first.record.findings[0].artefacts  # type: ignore[attr-defined]


def test_a_picture_named_like_an_option_is_recorded_so_that_it_works(here: Path) -> None:
    Path("-x.png").write_bytes((IMAGES / "ring.png").read_bytes())
    assert run(["explain", "--methods", "gradcam", "-o", "one", "--", "sample:shapes", "-x.png"]) == 0
    command = open_run(here / "one").record.command
    assert run([*shlex.split(command)[1:-3], "-o", "two", *shlex.split(command)[-3:]]) == 0


def test_command_line_and_python_find_the_same(here: Path) -> None:
    assert run(["explain", "sample:shapes", str(IMAGES), "-o", "out"]) == 0
    ours = open_run(here / "out").record
    theirs = explain(load("sample:shapes"), IMAGES).record

    def timeless(record: RunRecord) -> list[object]:
        return [finding.timeless() for finding in record.findings]

    assert timeless(ours) == timeless(theirs)
    assert ours.model == theirs.model
    assert ours.inputs == theirs.inputs


def test_one_layer_for_the_methods_that_look_at_one(here: Path) -> None:
    assert run(["explain", "sample:shapes", str(IMAGES / "star.png"), "--layer", "features.0", "-o", "out"]) == 0
    findings = {finding.method: finding for finding in open_run(here / "out").findings}
    assert findings["gradcam"].parameters["layer"] == "features.0"
    assert "layer" not in findings["occlusion"].parameters


def test_what_was_assumed_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.jit.save(torch.jit.trace(seeded(Small), torch.rand(1, 3, 16, 16)), "net.pt")
    Path("net.yaml").write_text("input: {shape: [3, 16, 16]}")
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save("a.png")
    assert run(["explain", "net.pt", "a.png", "-o", "out"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("assumed: mean and std of the input are not declared")
    assert said[1] == "assumed: classes have no names: they are numbered"
    assert "What had to be assumed" in (here / "out" / "report.html").read_text()


def test_hostile_names_do_not_reach_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31mred<b>.png"
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(name)
    assert run(["explain", "sample:shapes", name, "--methods", "gradcam", "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    page = (here / "out" / "report.html").read_text()
    assert "\x1b" not in page
    assert "red<b>" not in page
    assert plain("a\nb\x1b[0m\u202e") == "a b\N{REPLACEMENT CHARACTER}[0m\N{REPLACEMENT CHARACTER}"


def test_methods_are_listed_as_they_declare_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", "--json"]) == 0
    declared = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert declared["gradcam"]["needs"] == ["gradients", "graph"]
    assert declared["occlusion"]["parameters"]["window"]["description"]
    assert run(["methods", "occlusion"]) == 0
    assert "occlusion.fill = image" in capsys.readouterr().out
    assert run(["methods", "occlusio"]) == 2
    assert "did you mean 'occlusion'" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "explain" in capsys.readouterr().out


def test_the_highest_outputs_of_a_folder_in_one_report(here: Path) -> None:
    arguments = ["--methods", "gradcam,occlusion", "--measures", "none", "--top", "2", "-o", "out"]
    assert run(["explain", "sample:shapes", str(IMAGES), *arguments]) == 0
    record = open_run(here / "out").record
    assert len(record.inputs) == 6
    assert [finding.family for finding in record.findings].count("explanation") == 6 * 2 * 2
    assert [finding.family for finding in record.findings].count("agreement") == 6 * 2
    for entry in record.inputs:
        named = [f.target.name for f in record.findings if f.input == entry.id and f.method == "occlusion"]
        assert named == [prediction.name for prediction in entry.predictions[:2]]
    page = (here / "out" / "report.html").read_text()
    for number, entry in enumerate(record.inputs, start=1):
        assert f'href="#input-{number}"' in page
        assert f'id="input-{number}"' in page
        assert entry.id in page
    assert page.count('<img src="data:image/png') >= 6, "thumbnails"
    assert "--top 2" in record.command


def test_masks_beside_the_pictures_are_used(here: Path) -> None:
    folders = [str(IMAGES / "star.png"), "--masks", str(IMAGES.parent / "masks")]
    assert run(["explain", "sample:shapes", *folders, "--measures", "pointing", "-o", "out"]) == 0
    assert all(f.trust[0].values["hit"].value for f in open_run(here / "out").findings if f.family == "explanation")


def test_what_a_folder_holds_besides_pictures_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mixed" / "deeper").mkdir(parents=True)
    shutil.copy(IMAGES / "star.png", here / "mixed" / "a.png")
    (here / "mixed" / "b.gif").write_bytes(b"GIF89a")
    assert run(["explain", "sample:shapes", "mixed", "--measures", "none", "-o", "out"]) == 0
    told = f"left out of folder mixed, since they are no {', '.join(SUFFIXES)}: b.gif, deeper"
    assert told in capsys.readouterr().err
    assert open_run(here / "out").record.notes == (told,)
    assert told in (here / "out" / "report.html").read_text()


def test_a_data_set_is_told_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("star", "ring"):
        (here / "data" / kind).mkdir(parents=True)
        shutil.copy(IMAGES / f"{kind}.png", here / "data" / kind)
    options = ["--summary", "--methods", "gradcam", "--measures", "deletion"]
    assert run(["explain", "sample:shapes", "data", *options, "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out/report.html\n"
    assert re.search(r"mean trust -?\d\.\d\d of -1 to 1, 2 maps \(95 % interval -?\d\.\d\d to", captured.err)
    first = open_run(here / "out")
    (finding,) = first.findings
    assert (finding.family, finding.values["images"].value, finding.values["accuracy"].value) == ("summary", 2, 1.0)
    assert first.record.inputs == ()
    assert not list(here.glob("*.partial"))
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    assert open_run(here / "two").findings[0].timeless() == finding.timeless()
    theirs = explain(load("sample:shapes"), "data", summary=True, methods="gradcam", measures="deletion")
    assert theirs.findings[0].timeless() == finding.timeless()
    assert run(["check", "out"]) == 0
    assert run(["check", "out", "--model", "sample:shapes"]) == 0
    assert run(["report", "out"]) == 0


def test_a_summary_that_is_killed_leaves_nothing_that_looks_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xai.engine.summary.looking import Looking

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    options = ["sample:shapes", "sample:shapes:0-300", "--summary", "--methods", "gradcam", "--measures", "none"]
    whole, calls = Looking.shard, iter(range(9))
    with monkeypatch.context() as patch:
        patch.setattr(Looking, "shard", lambda *given: whole(*given) if next(calls) < 2 else killed())
        assert run(["explain", *options, "-o", "out"]) == 130
    assert not (here / "out").exists()
    assert not (here / "out.partial" / "record.json").exists()
    assert run(["explain", *options, "--resume", "-o", "out"]) == 0
    assert run(["explain", *options, "-o", "once"]) == 0
    both = [open_run(here / name).findings[0].timeless() for name in ("out", "once")]
    assert both[0] == both[1]
    assert not (here / "out.partial").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a", "b", "--summary"], "expected one data set, received 2"),
        (["sample:shapes", "--summary", "--masks", "m"], "masks was given with a summary"),
        (["sample:shapes", "--summary", "--reference", "d"], "reference was given with a summary, which does not take"),
        (["sample:shapes", "--summary", "--reference-labels", "l"], "explain images one by one"),
        (["sample:shapes", "--reference-labels", "l"], "name its data too"),
        (["sample:shapes", "--reference", "nowhere"], "nowhere"),
        (["sample:shapes", "--set", "reference.channels=3"], "were given without the reference"),
        (["sample:shapes", "--reference", "sample:shapes:0-9", "--set", "reference.channels=999"], "numbered from 0"),
        (["sample:shapes", "--limit", "2"], "limit was given without summary"),
        (["sample:shapes", "--resume", "-o", "out"], "resume was given without summary"),
        (["sample:shapes", "--summary", "--top", "2"], "explains one output of each image"),
        (["sample:shapes", "--summary", "--resume"], "--resume was given without -o"),
        (["nowhere", "--summary"], "nowhere"),
    ],
)
def test_what_does_not_go_together_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["explain", "sample:shapes", *options]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.iterdir())


def test_another_engine_is_recorded_and_gives_the_same_map(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    maps = []
    for name, more in (("one", []), ("other", ["--engine", "openvino"])):
        asked = ["explain", "sample:digits", DIGIT, "--methods", "lime", "--measures", "none", *more]
        assert run([*asked, "-o", str(tmp_path / name)]) == 0
        maps.append(open_run(tmp_path / name))
    one, other = maps
    assert "engine" not in one.record.settings
    assert other.record.settings["engine"].startswith("OpenVINO 2")
    assert "--engine openvino" in other.record.command
    first, second = (each.array(each.record.findings[0], "map") for each in maps)
    np.testing.assert_allclose(first, second, atol=1e-4 * np.abs(first).max())


def test_an_engine_that_does_not_exist_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "sample:digits", DIGIT, "--engine", "tpu", "-o", str(tmp_path / "x")]) == 2
    assert "no engine 'tpu'" in capsys.readouterr().err


def test_a_reference_is_told_beside_the_explanations(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).random((20, 3, 64, 64)).astype(np.float32)
    np.save(here / "data.npy", pixels)
    np.save(here / "labels.npy", np.arange(20) % 6)
    options = ["--methods", "gradcam", "--measures", "none", "--reference", "data.npy"]
    labelled = [*options, "--reference-labels", "labels.npy"]
    assert run(["explain", "sample:shapes", str(IMAGES / "star.png"), *labelled, "-o", "out"]) == 0
    first = open_run(here / "out")
    assert [finding.family for finding in first.findings] == ["explanation", "neighbours", "exemplars"]
    assert f"star: {first.findings[1].values['said'].value}" in capsys.readouterr().err
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    assert [one.timeless() for one in open_run(here / "two").findings] == [one.timeless() for one in first.findings]
    theirs = explain(
        load("sample:shapes"),
        IMAGES / "star.png",
        methods="gradcam",
        measures="none",
        reference="data.npy",
        reference_labels="labels.npy",
    )
    assert [one.timeless() for one in theirs.findings] == [one.timeless() for one in first.findings]
    assert run(["check", "out"]) == 0
    assert run(["check", "out", "--model", "sample:shapes"]) == 0
    assert run(["report", "out"]) == 0
