"""The tables of the README and of docs/, written from the benchmarks' results: python -m benchmarks._readme."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/trust.md")
PEERS = {"gradcam": ("captum", "grad-cam"), "occlusion": ("captum",), "lime": ("lime",)}
MEASURES = {
    "deletion": "deletion and insertion",
    "randomisation": "randomised head",
    "cascade": "cascading randomisation",
    "infidelity": "infidelity, max-sensitivity",
    "pointing": "pointing game",
}
OURS = {"gradcam": ("ours, explainer alone",), "occlusion": ("ours",), "lime": ("ours", "ours, OpenVINO")}


def ground_truth() -> str:
    """Return the table of maps whose object is known, the best first."""
    found = _results("ground_truth")
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
    skipped = {name: one["skipped"] for name, one in found.items() if isinstance(one, dict) and "skipped" in one}
    lines += [f"| {name} | does not apply: {reason} | |" for name, reason in skipped.items()]
    return "\n".join(lines)


def speed() -> str:
    """Return the table of seconds beside those of peers and of the bare passes."""
    lines = [
        "| | seconds | own code | bare passes | peer | times as fast | peak MiB, ours and the peer's |",
        "|---|---|---|---|---|---|---|",
    ]
    for network, found in _results("explainers").items():
        if network != "where":
            lines += [row for method in PEERS if method in found for row in _speeds(network, method, found[method])]
    return "\n".join(lines)


def _speeds(network: str, method: str, found: dict[str, Any]) -> Iterator[str]:
    seconds, memory = {name: one["median"] for name, one in found["seconds"].items()}, found["peak_memory_mib"]
    for ours in OURS[method]:
        with_engine = ", OpenVINO" if "OpenVINO" in ours else ""
        own = memory.get("ours, OpenVINO" if with_engine else "ours", "not measured")
        for peer in (name for name in PEERS[method] if name in seconds):
            ratio = 1 / found["ours_over_peer"][ours][peer]["median"]
            yield (
                f"| {method}, {network}{with_engine} | {seconds[ours]:.3g} | {100 * found['own_share'][ours]:.1f} % "
                f"| {seconds['passes alone']:.3g} "
                f"| {peer} {seconds[peer]:.3g} | {ratio:.2f} | {own}, {memory[peer]} |"
            )


def samples() -> str:
    """Return the table of LIME's errors, with its usual samples and with fewer."""
    found = {
        name: one["lime"]["error"] for name, one in _results("explainers").items() if "error" in one.get("lime", {})
    }
    told = next(iter(found.values()))
    drawn = [way for way in told if not way.startswith(("reference", "repeats"))]
    heads = [f"{way}: {told[way]['samples']} samples" for way in drawn]
    rows = [
        f"| {name} | {' | '.join(str(round(one[way]['error'], 3)) for way in drawn)} |" for name, one in found.items()
    ]
    return "\n".join([f"| error | {' | '.join(heads)} |", f"|---{'|---' * len(drawn)}|", *rows])


def trust(subject: str) -> str:
    """Return the table of what measures say of every method's maps on a network, the best first."""
    found = _results("trust").get(subject)
    if found is None:
        return "| not measured: XAI_DATA was not set |\n|---|"
    rows = {name: one for name, one in found.items() if isinstance(one, dict) and MEASURES.keys() & one}
    names = [name for name in MEASURES if any(name in one for one in rows.values())]
    lines = [
        f"| method, {found['pictures']} pictures | {' | '.join(MEASURES[name] for name in names)} |",
        f"|---{'|---' * len(names)}|",
    ]
    for method in sorted(rows, key=lambda method: -_score(rows[method], names)):
        blank = f" ({rows[method]['blank']} of {rows[method]['maps']} blank)" if rows[method]["blank"] else ""
        lines.append(f"| {method}{blank} | {' | '.join(_pair(rows[method].get(name)) for name in names)} |")
    return "\n".join(lines)


def _score(row: Mapping[str, Any], names: list[str]) -> float:
    told = [row[name]["for"] - row[name]["against"] for name in names if name in row]
    return sum(told) / len(told) if told else -1.0


def _pair(said: Mapping[str, float] | None) -> str:
    return "–" if said is None else f"{100 * said['for']:.0f} / {100 * said['against']:.0f}"


def _results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}-cpu.json").read_text())
    return found


TABLES: dict[str, Callable[[], str]] = {
    "ground truth": ground_truth,
    "speed": speed,
    "samples": samples,
    **{f"trust, {subject}": partial(trust, subject) for subject in ("shapes", "digits", "CIFAR ResNet-20")},
}


def written(text: str) -> str:
    """Return a page with its tables made anew."""
    marks = "|".join(map(re.escape, TABLES))
    return re.sub(rf"<!-- ({marks}) -->\n(\|.*\n)*", lambda mark: f"<!-- {mark[1]} -->\n{TABLES[mark[1]]()}\n", text)


def main() -> None:
    for page in PAGES:
        file = ROOT / page
        file.write_text(written(file.read_text()))


if __name__ == "__main__":
    main()
