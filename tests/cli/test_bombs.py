"""Small files that would fill the memory: refused in one line, and the memory stays empty."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.models.files import dicom, framed, wide_webp

LIMIT = 2 * 2**20  # KiB
SCRIPT = """
import contextlib, io, json, sys
from pathlib import Path
from xai.cli.main import run

found = {}
for name in sys.argv[1:]:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        quick = ["--methods", "occlusion", "--measures", "none", "-o", f"out-{name}"]
        code = run(["explain", "sample:shapes", name, *quick])
    found[name] = (code, err.getvalue())
status = Path("/proc/self/status").read_text()
print(json.dumps((found, int(status.split("VmHWM:")[1].split()[0]))))
"""


def wide_tiff(path: Path, side: int) -> Path:
    """Write a compressed TIFF that claims a picture of that side."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    content = buffer.getvalue()
    for tag in (256, 257, 278):  # width, length, rows of a strip
        for kind in (3, 4):
            content = content.replace(struct.pack("<HHII", tag, kind, 1, 64), struct.pack("<HHII", tag, 4, 1, side))
    path.write_bytes(content)
    return path


def bombs(place: Path) -> dict[str, str]:
    """Write the bombs; return what is said of each."""
    framed(place / "a.png", struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0), bytes(10**6))
    wide_tiff(place / "b.tif", 60000)
    wide_webp(place / "c.webp", 16383)
    Image.new("L", (64, 64)).save(place / "d.bmp")
    content = (place / "d.bmp").read_bytes()
    (place / "d.bmp").write_bytes(content[:18] + struct.pack("<ii", 10**5, 10**5) + content[26:])
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000, 1000000)}\n"
    (place / "e.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    with zipfile.ZipFile(place / "f.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))
    dicom(place / "g.dcm", np.zeros((64, 64), dtype=np.uint16), Rows=60000, Columns=60000)
    return {
        "a.png": "too large",
        "b.tif": "too large",
        "c.webp": "too large",
        "d.bmp": "too large",
        "e.npy": "received a tensor of (3, 1000000, 1000000)",
        "f.npz": "would unpack from",
        "g.dcm": "60000 x 60000",
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_bombs_are_refused_and_the_largest_picture_that_is_not_stays_below_2_gib(tmp_path: Path) -> None:
    words = bombs(tmp_path)
    wide_webp(tmp_path / "widest.webp", 9450)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words, "widest.webp"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found, peak = json.loads(done.stdout.splitlines()[-1])
    for name, said in words.items():
        code, err = found[name]
        assert code == 4, err
        assert said in err
        assert len(err.splitlines()) == 1, err
    assert found["widest.webp"][0] == 0, found["widest.webp"][1]
    assert peak < LIMIT
    assert done.stderr == ""
