"""Damaged files: whatever bytes are changed, a model comes out or one line that says what is wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.models.onnx.test_networks import exported
from tests.models.test_pt2 import export
from tests.networks import seeded
from xai.api import load
from xai.errors import XaiError
from xai.models.model import Model

NET = "from tests.models.test_damage import Tiny as make\n"


class Tiny(nn.Module):
    """A layer with rows and columns, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


FORMS: dict[str, Callable[[nn.Module, Path], object]] = {
    "safetensors": lambda network, path: save_file(network.state_dict(), path),
    "state dict": lambda network, path: torch.save(network.state_dict(), path),
    "old state dict": lambda network, path: torch.save(
        network.state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "TorchScript": lambda network, path: torch.jit.save(torch.jit.script(network), path),
    "ONNX": lambda network, path: exported(network, (3, 6, 6), path, "old"),
    "torch.export": lambda network, path: export(network, path, shape=(3, 6, 6)),
}
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "drop", "add", "copy"]), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damaged")
    (path / "net.py").write_text(NET)
    return path


@cache
def whole(name: str, folder: Path) -> bytes:
    path = folder / "whole"
    FORMS[name](seeded(Tiny), path)
    return path.read_bytes()


def damaged(content: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """Change bytes at places that are given as shares of the length."""
    changed = bytearray(content)
    for share, kind, piece in edits:
        place = int(share * (len(changed) - 1)) if changed else 0
        end = place + len(piece)
        if kind == "set":
            changed[place:end] = piece
        elif kind == "drop":
            del changed[place:end]
        else:
            changed[place:place] = piece if kind == "add" else changed[:8]
    return bytes(changed)


def damaged_within(content: bytes, edits: list[tuple[float, str, bytes]], which: float) -> bytes:
    """Change an entry of an archive and write its checksum anew: the archive itself is whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    telling = [name for name in entries if name.endswith((".pkl", ".py", ".json", ".debug_pkl"))]
    name = telling[int(which * (len(telling) - 1))]
    entries[name] = damaged(entries[name], edits)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for each, data in entries.items():
            archive.writestr(each, data)
    return buffer.getvalue()


def opens_or_says_why(content: bytes, folder: Path, name: str) -> None:
    path = folder / "damaged.bin"
    path.write_bytes(content)
    said = ""
    try:
        assert isinstance(load(path, arch=architecture(name, folder), shape=(3, 6, 6)), Model)
    except XaiError as error:
        said = str(error)
    assert "\n" not in said


def architecture(name: str, folder: Path) -> str | None:
    return None if name in ("TorchScript", "torch.export", "ONNX") else f"{folder / 'net.py'}:make"


SOME = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@pytest.mark.parametrize("name", FORMS)
def test_changed_bytes(folder: Path, name: str) -> None:
    @SOME
    @given(EDITS)
    def check(edits: list[tuple[float, str, bytes]]) -> None:
        opens_or_says_why(damaged(whole(name, folder), edits), folder, name)

    check()


@pytest.mark.parametrize("name", ["state dict", "TorchScript", "torch.export"])
def test_changed_bytes_behind_a_right_checksum(folder: Path, name: str) -> None:
    @SOME
    @given(EDITS, st.floats(0, 1))
    def check(edits: list[tuple[float, str, bytes]], which: float) -> None:
        opens_or_says_why(damaged_within(whole(name, folder), edits, which), folder, name)

    check()


@pytest.mark.parametrize("name", FORMS)
def test_a_file_cut_short(folder: Path, name: str) -> None:
    content = whole(name, folder)
    for share in (0.01, 0.3, 0.7, 0.99):
        opens_or_says_why(content[: int(share * len(content))], folder, name)


@pytest.mark.parametrize("name", FORMS)
def test_the_whole_file_opens(folder: Path, name: str) -> None:
    (folder / "whole.bin").write_bytes(whole(name, folder))
    model = load(folder / "whole.bin", arch=architecture(name, folder), shape=(3, 6, 6))
    x = torch.rand(2, 3, 6, 6)
    torch.testing.assert_close(model(x), seeded(Tiny)(x))
