"""The README's quick starts, word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import xai.explainers
from benchmarks._readme import PAGES, TABLES, written
from tests.conftest import ROOT
from xai.api import explain
from xai.cli.main import run
from xai.models.model import Model
from xai.reports.policy.reading import read_policy

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
CONSOLE = [code for language, code in BLOCKS if language == "console"]


@pytest.mark.parametrize("code", [code for code in PYTHON if "import xai\n" in code and "xai.audit" not in code])
def test_python_quick_starts_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_the_command_line_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "sample:shapes" in code).splitlines()
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "xai"
        assert run(words[1:]) == 0, line
    assert (tmp_path / "my-run" / "report.html").is_file()


def test_the_look_inside_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "xai inspect" in code).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert (tmp_path / "my-look" / "report.html").is_file()
    assert (tmp_path / "digits.yaml").is_file()


def test_what_breaks_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "xai attack" in code).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert (tmp_path / "my-attack" / "report.html").is_file()


def test_what_its_outputs_can_become_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "xai bounds" in code).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert (tmp_path / "my-bounds" / "report.html").is_file()


def test_what_is_proved_runs_and_ends_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "xai verify" in code).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    told = capsys.readouterr().err.splitlines()
    for line in next(code for language, code in BLOCKS if language == "text" and "verified" in code).splitlines():
        assert line in told
    assert (tmp_path / "my-proof" / "report.html").is_file()


def test_what_it_does_not_know_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(next(code for code in PYTHON if "xai.ood" in code), "README.md", "exec"), {})
    lines = next(code for code in CONSOLE if "xai ood" in code).splitlines()
    assert len(lines) == 5
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert (tmp_path / "my-evaluation" / "report.html").is_file()


def test_how_it_is_made_robust_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole, parts = (code.splitlines() for code in CONSOLE if "xai train" in code)
    assert (len(whole), len(parts)) == (4, 2)
    for line in (*whole, parts[0]):
        assert run(shlex.split(line)[1:]) == 0, line
    assert (tmp_path / "robust" / "diff.html").is_file()
    assert run(shlex.split(parts[1])[1:]) == 2, "the files do not exist"


def test_what_was_required_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("audit.yaml").write_text(next(code for language, code in BLOCKS if language == "yaml" and "require:" in code))
    lines = next(code for code in CONSOLE if "xai audit" in code).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert (tmp_path / "my-audit" / "junit.xml").is_file()
    exec(compile(next(code for code in PYTHON if "xai.audit" in code), "README.md", "exec"), {})


def test_models_leave_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "xai export" in code).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert {path.name for path in tmp_path.glob("shapes.*")} == {"shapes.onnx", "shapes.pt2", "shapes.yaml"}


def test_the_options_of_the_other_examples_exist(capsys: pytest.CaptureFixture[str]) -> None:
    lines = next(code for code in CONSOLE if "resnet.pth" in code).splitlines()
    for line in lines:
        assert run(shlex.split(line)[1:]) == 2, "the files do not exist"
        assert "does not exist" in capsys.readouterr().err


def test_the_make_targets_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"make (\w+)", CONSOLE[0])
    assert named
    assert set(named) <= set(targets)


def test_the_recipe_adds_an_explainer_in_one_file(
    small: Model, noise: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = next(code for code in PYTHON if "class Brightness" in code)
    (tmp_path / "brightness.py").write_text(code)
    # Not in the tree itself, where tests that run at the same time would find it, too.
    monkeypatch.setattr(xai.explainers, "__path__", [*xai.explainers.__path__, str(tmp_path)])
    found = explain(small, noise, methods=["brightness"])["brightness"]
    assert found.map.shape == (16, 16)


def test_the_folders_exist() -> None:
    listing = next(code for language, code in BLOCKS if language == "text")
    for name in re.findall(r"^ *(\w+)/ ", listing, re.MULTILINE):
        assert (ROOT / name).is_dir() or (ROOT / "xai" / name).is_dir(), name


def test_the_policy_of_the_demonstration_can_be_read() -> None:
    policy = read_policy(ROOT / "docs" / "audit.yaml").policy
    assert {one.severity for one in policy.requirements} == {"must", "should"}
    assert "docs/audit.yaml" in (ROOT / "Makefile").read_text()


def test_what_it_looks_at_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = next(code for code in CONSOLE if "--summary" in code).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, line
    assert "leans on one place" in (tmp_path / "together" / "report.html").read_text()


def test_tables_are_the_benchmarks() -> None:
    pages = [(ROOT / page).read_text() for page in PAGES]
    assert [written(page) for page in pages] == pages
    assert all(any(table() in page for page in pages) for table in TABLES.values())
