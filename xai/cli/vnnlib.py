"""xai verify NET.onnx PROPERTY.vnnlib, and lists of such problems: the words that competitions ask for."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from xai.cli.place import writing_run
from xai.cli.terminal import plain, say
from xai.errors import UsageError

if TYPE_CHECKING:
    from xai.engine.instances import Solved
    from xai.robustness.verify.decide import Outcome

CODES = {"sat": 1, "unsat": 0, "unknown": 5, "timeout": 5}
FAILED, WRONG = 3, 1
REAL = "real"
ANSWER, TABLE = "answer.txt", "results.csv"


def one(
    model: str,
    file: Path,
    *,
    timeout: float | None,
    arithmetic: str | None,
    seed: int,
    device: str,
    arch: str | None,
    card: Path | None,
    trust_model: bool,
    output: Path | None,
    proof: Path | None,
) -> int:
    """Decide one property: its word on the first line, then the counterexample, and the same in a file if wanted."""
    from xai.engine.deciding import plan_deciding
    from xai.engine.vnnlib import answer
    from xai.models.loading import load
    from xai.runtime import resolve_device

    for file_ in (output, proof):
        if file_ is not None and file_.exists():
            raise UsageError(f"{file_} exists: expected a file to write to that is not there yet")
        if file_ is not None and not file_.parent.is_dir():
            raise UsageError(f"{file_}: there is no folder {file_.parent}; make it first")
    loaded = load(model, arch=arch, card=card, device=resolve_device(device), seed=seed, trusted=trust_model)
    found = answer(plan_deciding(loaded, timeout=timeout, arithmetic=arithmetic or REAL), file, seed, proof)
    outcome = found.outcome
    text = "\n".join(line for line in (found.word, found.counterexample) if line)
    typer.echo(text)
    if output is not None:
        output.write_text(f"{text}\n")
    decided = f"by {outcome.by} " if outcome.by else ""
    say(f"decided {decided}in {outcome.seconds:.1f} s, {outcome.parts} parts" if decided else _undecided(outcome))
    for note in found.notes:
        say(f"note: {note}")
    return CODES[found.word]


def _undecided(outcome: Outcome) -> str:
    far = ""
    if outcome.bound is not None and math.isfinite(outcome.bound):
        far = f"; {plain(outcome.case)} lies at most {-outcome.bound:.3g} beyond its limit"
    return f"not decided after {outcome.seconds:.1f} s, {outcome.parts} parts: {outcome.reason}{far}"


def many(
    file: Path,
    *,
    timeout: float | None,
    arithmetic: str | None,
    seed: int,
    device: str,
    jobs: int | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
) -> int:
    """Decide every property of a list, and write a table beside what was expected."""
    from xai.engine.enclosure import read_arithmetic
    from xai.engine.instances import Asked, solve
    from xai.engine.sweep import cores
    from xai.robustness.verify.instances import read_instances
    from xai.runtime import resolve_device

    instances = read_instances(file)
    asked = Asked(timeout, read_arithmetic(arithmetic or REAL), seed, str(resolve_device(device)))
    jobs = min(jobs or cores(), len(instances))

    def tell(solved: Solved, done: int) -> None:
        verdict = f"{solved.word}, but {solved.expected} was expected" if solved.is_wrong else solved.word
        say(f"{done} of {len(instances)}: {solved.onnx} {solved.vnnlib}: {verdict} ({solved.seconds:.1f} s)")

    with writing_run("verify", file.parent.name or file.stem, output, overwrite=overwrite, resume=resume) as place:
        found = solve(instances, asked, jobs=jobs, threads=max(1, cores() // jobs), folder=place.done, tell=tell)
        with (place.partial / TABLE).open("w", newline="") as table:
            writer = csv.DictWriter(table, [field.name for field in fields(found[0])], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(solved) for solved in found)
    typer.echo(_summary(found))
    typer.echo(str(place.folder / TABLE))
    if any(solved.is_wrong for solved in found):
        return WRONG
    return FAILED if any(solved.word == "error" for solved in found) else 0


def _summary(found: list[Solved]) -> str:
    counts = {word: sum(solved.word == word for solved in found) for word in (*CODES, "error")}
    told = [f"{count} {word}" for word, count in counts.items() if count]
    known = [solved for solved in found if solved.expected in ("sat", "unsat")]
    right = sum(solved.word == solved.expected for solved in known)
    wrong = sum(solved.is_wrong for solved in found)
    beside = f"; {right} of {len(known)} as expected, {wrong} not" if known else ""
    return f"{len(found)} problems: {', '.join(told)}{beside}"
