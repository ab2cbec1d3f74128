"""Proofs that a run keeps: each is put before the independent checker as it was written, at once and by `xai check`."""

from __future__ import annotations

from dataclasses import dataclass

from xai.engine.deciding import Judge
from xai.errors import AnalysisError, XaiError
from xai.models.model import Model
from xai.robustness.verify.checker.check import State, checked
from xai.robustness.verify.checker.file import parse
from xai.robustness.verify.decide import Outcome
from xai.robustness.verify.proof import proof_bytes
from xai.robustness.verify.property import Property

PROOF, SUFFIX = "proof", "proof"  # the artefact, and what its file's name ends with


@dataclass(frozen=True)
class Judged:
    """What the checker says of a proof.

    Args:
        state: whether it is confirmed.
        reason: why not; "" where it is.
    """

    state: State
    reason: str = ""


def written(found: Outcome, judge: Judge) -> tuple[bytes, Judged]:
    """Return the proof of what was found, b"" where none can be written, and what the checker says of it."""
    plan = judge.plan
    if judge.pair is not None:
        return b"", Judged(State.NOT_CHECKED, "it is about two inputs, which the checker does not compare")
    try:
        content = proof_bytes(found, judge.wanted, judge.program, plan.model.fingerprint, plan.arithmetic)
    except AnalysisError as error:
        return b"", Judged(State.NOT_CHECKED, str(error))
    return content, judged(content, plan.model, judge.wanted)


def judged(content: bytes, model: Model, wanted: Property) -> Judged:
    """Return what the checker says of a proof.

    Args:
        content: as it is kept.
        model: that it must be about.
        wanted: the property that it must prove, made anew.
    """
    try:
        said = checked(parse(content, "of the run"), model, wanted)
    except XaiError as error:
        return Judged(State.NOT_CHECKED, str(error))
    return Judged(said.state, "" if said.state is State.CHECKED else said.text.partition(": ")[2])
