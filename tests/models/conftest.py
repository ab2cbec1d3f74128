"""Fixtures for files that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile.base import MARKER, Case
from xai.cli.main import run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty working folder with a picture."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save("image.png")
    return tmp_path


@pytest.fixture
def refuses(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command line on what must be refused; return the one line."""

    def call(*arguments: str, code: int = 4) -> str:
        assert run(["explain", *arguments, "-o", "out"]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1, captured.err
        assert not (place / MARKER).exists(), "something of the file ran"
        assert not Path("out").exists()
        return captured.err.removesuffix("\n")

    return call


@pytest.fixture
def refused(refuses: Callable[..., str], place: Path) -> Callable[[Case], str]:
    """Write a hostile file, unless it is there, and run the command line on it; return the one line."""

    def call(case: Case) -> str:
        if not (place / case.file).exists():
            case.write(place)
        return refuses(*(("sample:shapes", case.file) if case.is_input else (case.file, "image.png")))

    return call
