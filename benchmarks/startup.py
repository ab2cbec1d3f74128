"""How long the command line takes to say hello, beside an empty Python: xai --help, and xai report without torch."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import xai

REPEATS = 7


def measure(device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        xai.explain(xai.load("sample:shapes", device=device), "sample:shapes").save(Path(folder) / "run")
        empty = _seconds([sys.executable, "-c", "pass"])
        shown = _seconds([sys.executable, "-m", "xai.cli", "--help"])
        report = _seconds([sys.executable, "-m", "xai.cli", "report", str(Path(folder) / "run")])
    return {
        "empty_python_seconds": round(empty, 3),
        "help_seconds": round(shown, 3),
        "help_limit_seconds": 0.5,
        "report_of_six_pictures_seconds": round(report, 3),
    }


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
