"""The package imports quickly, and lives beside a user's own modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("sklearn", "torch", "torchvision"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_a_users_own_models_and_robustness_stay_theirs(tmp_path: Path) -> None:
    for name in ("models", "reports", "robustness"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    code = """
import models, reports, robustness, xai.models.card, xai.reports.records, xai.robustness
assert models.MINE and reports.MINE and robustness.MINE
assert not hasattr(xai.models, "MINE")
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_import_xai_needs_no_torch(tmp_path: Path) -> None:
    done = python(BLOCK + "import xai; assert 'explain' in dir(xai); assert xai.XaiError", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["explain", "--help"],
        ["inspect", "--help"],
        ["inspect", "--card-schema"],
        ["report", "--help"],
        ["--version"],
    ],
)
def test_help_needs_no_torch(tmp_path: Path, arguments: list[str]) -> None:
    done = python(BLOCK + f"from xai.cli.main import run; sys.exit(run({arguments!r}))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_unknown_names_of_the_package_are_attribute_errors() -> None:
    import xai

    with pytest.raises(AttributeError, match="'nothing'"):
        xai.nothing  # noqa: B018  # the access is what is tested
