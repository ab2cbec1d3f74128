"""Small files that would fill the memory: refused in one line, and the memory stays empty."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hostile import BOMBS
from tests.models.files import wide_webp

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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_bombs_are_refused_and_the_largest_picture_that_is_not_stays_below_2_gib(tmp_path: Path) -> None:
    for case in BOMBS:
        case.write(tmp_path)
    words = {case.file: case.words for case in BOMBS}
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
