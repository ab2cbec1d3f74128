"""Verification problems as competitions put them: a network's file, a property in VNN-LIB, one of four words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from xai.engine.confirm import Witness, witness
from xai.engine.deciding import Deciding, guarded
from xai.errors import AnalysisError, XaiError
from xai.models.model import Model
from xai.robustness.verify.checker.check import Checked, check_proof
from xai.robustness.verify.decide import Outcome, Verdict
from xai.robustness.verify.proof import write_proof
from xai.robustness.verify.property import Property
from xai.robustness.verify.search import LATE
from xai.robustness.verify.vnnlib import Spec, counterexample_text, fitted, flat, read

SAT, UNSAT, UNKNOWN, TIMEOUT = "sat", "unsat", "unknown", "timeout"


@dataclass(frozen=True)
class Answer:
    """What is known of a problem.

    Args:
        word: sat, unsat, unknown or timeout.
        outcome: with what decided it, and how long that took.
        counterexample: input and output in VNN-LIB's form; "" where there is none.
        notes: what a reader must know.
    """

    word: str
    outcome: Outcome
    counterexample: str
    notes: tuple[str, ...]


def answer(plan: Deciding, file: Path, seed: int, proof: Path | None = None) -> Answer:
    """Decide whether a network has an input that a VNN-LIB file calls unsafe; what hinders a search leaves it unknown.

    Args:
        plan: the network, for how long, and in which arithmetic; what is under way at the end is ended first.
        file: the property.
        seed: of the random starts of attacks.
        proof: where a proof is written, if there is one.

    Raises:
        UsageError: there is no such file, or it is about other inputs or outputs.
        RefusedFileError: it is no VNN-LIB 1.0 that can be proved.
    """
    spec, model = read(file), plan.model
    wanted = fitted(spec, model)
    other = witness(model)
    replay = _Replay(model, spec, other)

    def search() -> Outcome:
        return plan.verifier(plan.program, model, replay.confirms, seed).decide(wanted, plan.timeout)

    try:
        outcome = guarded(search)
        text = replay.text(outcome.counterexample)
    finally:
        other.rest()
    notes = [*_notes(spec, other, outcome), *_written(proof, outcome, wanted, plan)]
    return Answer(_word(outcome), outcome, text, tuple(notes))


def check_written(file: Path, model: Model, written: Path | None) -> Checked:
    """Check a proof in a file, without any of the code that found it.

    Args:
        file: the proof.
        model: that it is about.
        written: the property that it must be about; None: the one in the proof itself.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is no proof, or was changed.
    """
    return check_proof(file, model, None if written is None else fitted(read(written), model))


def _written(file: Path | None, outcome: Outcome, wanted: Property, plan: Deciding) -> Iterator[str]:
    """Write the proof, if one is wanted and there is one, and say what came of it."""
    if file is None:
        return
    if outcome.verdict is not Verdict.HOLDS:
        yield f"no proof was written to {file}: the property was not proved"
        return
    try:
        write_proof(file, outcome, wanted, plan.program, plan.model.fingerprint, plan.arithmetic)
    except AnalysisError as error:
        yield f"no proof was written to {file}: {error}"
    else:
        yield f"the proof is in {file}; xai check {file} --model MODEL --property PROPERTY checks it"


@dataclass(frozen=True)
class _Replay:
    """Judges counterexamples by the property as it is written, and by another program that runs the file."""

    model: Model
    spec: Spec
    other: Witness

    def confirms(self, x: torch.Tensor, y: torch.Tensor) -> bool:
        """Say whether an input (...) with its output (outputs,) is one for both programs."""
        return self._violates(x, y) and (self.other.run is None or self._violates(x, self._elsewhere(x)))

    def text(self, x: torch.Tensor | None) -> str:
        """Return a counterexample as it is printed: with the other program's output, which others will compute."""
        if x is None:
            return ""
        with torch.no_grad():
            y = self.model(x[None]).flatten() if self.other.run is None else self._elsewhere(x)
        return counterexample_text(flat(x, self.model.input.layout).tolist(), y.tolist())

    def _violates(self, x: torch.Tensor, y: torch.Tensor) -> bool:
        return self.spec.violated(flat(x, self.model.input.layout).tolist(), y.tolist())

    def _elsewhere(self, x: torch.Tensor) -> torch.Tensor:
        assert self.other.run is not None
        try:
            return self.other.run(x[None].cpu()).flatten()
        except (XaiError, ValueError, RuntimeError):
            return torch.full((self.spec.outputs,), torch.nan)


def _word(outcome: Outcome) -> str:
    if outcome.verdict is Verdict.NOT_DECIDED:
        return TIMEOUT if outcome.reason == LATE else UNKNOWN
    return UNSAT if outcome.verdict is Verdict.HOLDS else SAT


def _notes(spec: Spec, other: Witness, outcome: Outcome) -> list[str]:
    notes = []
    if spec.empty:
        notes.append(f"{spec.empty} cases of the property hold no input: nothing is said of them")
    if outcome.verdict is Verdict.VIOLATED:
        notes.append(f"confirmed by {other.name}" if other.run else f"confirmed by the model alone: {other.reason}")
    return notes
