"""The README's table of ground truth, written from the benchmark's results: python -m benchmarks._readme."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"<!-- ground truth -->\n(\|.*\n)*")


def table() -> str:
    """Return the table, the best first."""
    found = json.loads((ROOT / "benchmarks" / "results" / "ground_truth-cpu.json").read_text())
    rows = {name: one for name, one in found.items() if isinstance(one, dict) and "hits" in one}
    ordered = sorted(rows, key=lambda name: (-rows[name]["hits"], -rows[name]["mass over area, median"]))
    lines = ["| method | highest place on the object | times chance |", "|---|---|---|"]
    for name in ordered:
        one = rows[name]
        low, high = one["hits, 95 % interval"]
        lost = [which for which, beaten in one.get("beats the blob", {}).items() if not beaten]
        remark = f" (no better than the blob: {', '.join(lost)})" if lost else ""
        lines.append(
            f"| {name}{remark} | {100 * one['hits']:.0f} % ({100 * low:.0f} to {100 * high:.0f}) "
            f"| {one['mass over area, median']:.1f} |"
        )
    return "<!-- ground truth -->\n" + "\n".join(lines) + "\n"


def main() -> None:
    readme = ROOT / "README.md"
    readme.write_text(MARK.sub(lambda _: table(), readme.read_text()))


if __name__ == "__main__":
    main()
