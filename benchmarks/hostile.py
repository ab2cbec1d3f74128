"""Every hostile file of the tests, given to the real command: what it says, and what it takes to say so.

Each file is written into an empty folder and opened by `xai inspect FILE`, or by `xai explain sample:shapes FILE` if it
is what a model looks at, in a process of its own. A row names every fault that it shows: a marker that the file left,
another exit code, more than one line, a traceback, data on stdout, another reason than the true one, more than 2 GiB,
or more than a minute. `python -m benchmarks.hostile` puts the table of the kept figures into docs/security.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS
from tests.hostile import CASES
from tests.hostile.base import MARKER, Case

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN = "<!-- the table of benchmarks/results/hostile-cpu.json -->\n"
MAX_MIB = 2048
MAX_SECONDS = 60
_GUARD = 4 * 2**30  # bytes of data that the process may hold at all, so that a bomb ends it and not the machine
_COLUMNS = ("format", "attack", "exit", "marker", "lines", "s", "MiB", "message")

# A process of its own, since the peak that Linux reports of a child begins at its parent's.
_LAUNCH = """
import json, os, resource, subprocess, sys, time
guard = int(sys.argv[1])
begun = time.perf_counter()
limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (guard, guard))
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit)
out, err = child.communicate()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps([child.returncode, out, err, time.perf_counter() - begun, peak]))
"""


def measure(device: str) -> dict[str, Any]:
    del device  # a file is refused before there is one
    rows = [row(case) for case in CASES]
    return {"rows": rows, "total": total(rows)}


def row(case: Case) -> dict[str, Any]:
    """Return what the command did with one hostile file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case.write(folder)
        code, out, err, seconds, peak = _run(_command(case), folder)
        marker = (folder / MARKER).exists() or any(folder.rglob(MARKER))
    lines = err.splitlines()
    found = {
        "format": case.form,
        "attack": case.attack,
        "exit": code,
        "marker": marker,
        "lines": len(lines),
        "seconds": round(seconds, 1),
        "MiB": round(peak),
        "message": _message(lines, folder) if code else "opens; what would run is not looked at",
    }
    return {**found, "faults": _faults(case, found, out, err)}


def total(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what all rows come to."""
    rows = list(rows)
    return {
        "files": len(rows),
        "with a fault": sum(bool(each["faults"]) for each in rows),
        "markers": sum(each["marker"] for each in rows),
        "most seconds": max(each["seconds"] for each in rows),
        "most MiB": max(each["MiB"] for each in rows),
    }


def _run(command: list[str], folder: Path) -> tuple[int, str, str, float, float]:
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCH, str(_GUARD), *command],
        cwd=folder,
        env={**os.environ, "XAI_CACHE_DIR": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    code, out, err, seconds, peak = json.loads(done.stdout)
    return code, out, err, seconds, peak


def _command(case: Case) -> list[str]:
    start = [sys.executable, "-m", "xai.cli"]
    if case.is_input:
        quick = ["--methods", "occlusion", "--measures", "none", "-o", "out"]
        return [*start, "explain", "sample:shapes", case.file, *quick]
    return [*start, "inspect", case.file]


def _message(lines: list[str], folder: Path) -> str:
    return (lines or [""])[-1].removeprefix("error: ").replace(str(folder), "/folder")


def _faults(case: Case, found: dict[str, Any], out: str, err: str) -> list[str]:
    refused = bool(case.code)
    faults = {
        "the file left a marker": found["marker"],
        f"exit code {found['exit']}": found["exit"] != case.code,
        f"{found['lines']} lines": refused and found["lines"] != 1,
        "a traceback": "Traceback" in err,
        "data on stdout": refused and bool(out),
        "another reason": case.words not in err,
        f"more than {MAX_MIB} MiB": found["MiB"] > MAX_MIB,
        f"more than {MAX_SECONDS} s": found["seconds"] > MAX_SECONDS,
    }
    return [fault for fault, is_so in faults.items() if is_so]


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown; a row with a fault says so."""
    lines = [_row(_COLUMNS), _row("---" for _ in _COLUMNS)]
    for each in figures["rows"]:
        said = "; ".join(each["faults"])
        message = f"**FAULT: {said}.** {each['message']}" if said else each["message"]
        marker = "there" if each["marker"] else "absent"
        measured = (each["lines"], f"{each['seconds']:.1f}", each["MiB"])
        lines.append(_row((each["format"], each["attack"], each["exit"], marker, *measured, message)))
    sums = figures["total"]
    lines.append(
        _row(
            (
                "**total**",
                f"**{sums['files']} files, {sums['with a fault']} with a fault**",
                "",
                f"{sums['markers']} there",
                "",
                f"at most {sums['most seconds']:.1f}",
                f"at most {sums['most MiB']}",
                "",
            )
        )
    )
    return "\n".join(lines)


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(_escaped(str(cell)) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    for sign in "\\|<>`":
        text = text.replace(sign, f"\\{sign}")
    return text


def page(text: str, figures: dict[str, Any]) -> str:
    """Return the page with the table of these figures at its end."""
    return text.partition(BEGIN)[0] + BEGIN + table(figures) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), json.loads((RESULTS / "hostile-cpu.json").read_text())))
