"""Small files that would fill the memory: refused in one line, and the memory stays empty."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hostile import BOMBS, GROWING
from tests.models.files import wide_webp

LIMIT = 2 * 2**20  # KiB
SCRIPT = """
import contextlib, io, json, sys, time
from pathlib import Path
from xai.cli.main import run

found = {}
for name in sys.argv[1:]:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        quick = ["--methods", "occlusion", "--measures", "none", "-o", f"out-{name}"]
        is_model = name.endswith(".onnx")
        begun = time.monotonic()
        code = run(["inspect", name] if is_model else ["explain", "sample:shapes", name, *quick])
    found[name] = (code, err.getvalue(), time.monotonic() - begun)
status = Path("/proc/self/status").read_text()
print(json.dumps((found, int(status.split("VmHWM:")[1].split()[0]))))
"""


def opened(place: Path, *names: str) -> tuple[dict[str, tuple[int, str, float]], int]:
    """Open files in a process of their own; return exit code, stderr and seconds of each, and the peak in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        cwd=place,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "XAI_CACHE_DIR": "off"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found, peak = json.loads(done.stdout.splitlines()[-1])
    return found, peak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_bombs_are_refused_and_the_largest_picture_that_is_not_stays_below_2_gib(tmp_path: Path) -> None:
    for case in BOMBS:
        case.write(tmp_path)
    words = {case.file: case.words for case in BOMBS}
    wide_webp(tmp_path / "widest.webp", 9450)
    found, peak = opened(tmp_path, *words, "widest.webp")
    for name, said in words.items():
        code, err, _ = found[name]
        assert code == 4, err
        assert said in err
        assert len(err.splitlines()) == 1, err
    assert found["widest.webp"][0] == 0, found["widest.webp"][1]
    assert peak < LIMIT


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_graphs_that_grow_are_refused_before_they_take_2_gib_or_a_minute(tmp_path: Path) -> None:
    for index, case in enumerate(GROWING):
        case.make(tmp_path / f"{index}.onnx")
    found, peak = opened(tmp_path, *(f"{index}.onnx" for index in range(len(GROWING))))
    for case, (code, err, seconds) in zip(GROWING, found.values(), strict=True):
        assert code == 4, (str(case), err)
        assert case.words in err
        assert len(err.splitlines()) == 1, err
        assert seconds < 60, str(case)
    assert peak < LIMIT
