"""Properties looked at again: a counterexample that is kept is put before the model and another program once more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xai.engine.claim import CONSTRAINTS, Claim
from xai.engine.confirm import Witness
from xai.engine.deciding import plan_deciding
from xai.engine.proofs import PROOF, judged
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, get, get_bytes
from xai.reports.check import Checked, Complaint
from xai.reports.evidence import Evidence
from xai.reports.policy.places import read_bytes
from xai.reports.policy.reading import fitted
from xai.reports.records import Finding, PropertiesRecord
from xai.robustness.verify.checker.check import State
from xai.robustness.verify.statements import Compiled, ReadStatements, Statements

TOLERANCE = 1e-3  # of outputs, as a share of the largest: another machine sums in another order
POINT, OUTPUTS = "counterexample", "outputs"


def replayed(run: Evidence, finding: Finding, model: Model, other: Witness) -> Checked:
    """Return where the counterexample of a property is not one, or where there is none and should be.

    Args:
        run: that the finding is of.
        finding: of a property.
        model: that it is about.
        other: another program that runs it.
    """
    violated = finding.verdict == "violated"
    if CONSTRAINTS not in finding.artefacts:
        return Checked(unchecked=(f"{finding.id}: the run does not keep what its statement says",))
    claim = Claim.read(finding, run.store)
    if PROOF in finding.artefacts and finding.verdict == "holds":
        said = judged(get_bytes(run.store, finding.artefacts[PROOF]), model, claim.property(finding.title))
        if said.state is State.CHECKED:
            return Checked(done=(f"{finding.id}: its proof, evaluated again",))
        return _told(finding, [f"its proof is {said.state}: {said.reason}"])
    if POINT not in finding.artefacts:
        return _without(finding) if not violated else _told(finding, ["it is violated, and no counterexample is kept"])
    inputs, written = (get(run.store, finding.artefacts[name]) for name in (POINT, OUTPUTS))
    if words := claim.outside(inputs):
        return _told(finding, [f"its counterexample {words}"])
    answers = _answers(inputs, model, other)
    own, beyond = answers["the model"], {"the recorded outputs": written, **answers}
    same = close(own, written, float(np.abs(own).max()))
    faults = [] if same else ["the model gives other outputs there than those recorded"]
    if violated:
        names = [name for name, outputs in beyond.items() if not claim.violated(outputs)]
        faults += [f"its counterexample does not violate it, by {' and '.join(names)}"] if names else []
    elif all(map(claim.violated, beyond.values())):
        faults.append(f"it is recorded as {finding.verdict}, and its counterexample violates it")
    where = f" and in {other.name}" if other.run is not None else ""
    done = f"{finding.id}: its counterexample, read again and put before the model{where}"
    return Checked(done=(done,)) + _told(finding, faults)


def restated(run: Evidence, properties: PropertiesRecord, model: Model) -> Checked:
    """Return which findings are not about the recorded property in whose place they stand.

    Args:
        run: an audit.
        properties: the file of them, as it was recorded.
        model: that they are about.

    Raises:
        XaiError: they cannot be compiled again: a picture that they name is gone, or they do not fit the model.
    """
    held = {one.id: one for one in run.findings if one.family == "property"}
    if all(one.status != "ok" for one in held.values()):
        return Checked(unchecked=("properties: the run decided none of them",))
    name = "the recorded properties"
    written = read_bytes(properties.text.encode(), name)
    read = ReadStatements(fitted(written, Statements, name), Path(properties.source), written)
    compiled = read.compiled(plan_deciding(model).bounding)
    faults = [
        Complaint(place, words)
        for number, stated in enumerate(compiled)
        if (words := _unlike(held.get(place := f"property/{number}"), stated))
    ]
    return Checked((f"{len(compiled)} properties, compiled again from the recorded file",), tuple(faults))


def _unlike(finding: Finding | None, stated: Compiled) -> str:
    """Return in what a finding differs from a property that it should be about, "" if in nothing."""
    if finding is None:
        return f"no finding is about the property {stated.property.name!r}"
    if finding.title != stated.property.name:
        return f"it is called {finding.title!r}, and the property in its place {stated.property.name!r}"
    claim = Claim.of(stated)
    kept, told = claim.artefacts(MemoryStore()), claim.parameters()
    same = all(finding.artefacts.get(name) == one for name, one in kept.items())
    return "" if same and told.items() <= finding.parameters.items() else "it says something else than the property"


def close(own: np.ndarray, written: np.ndarray, scale: float) -> bool:
    """Say whether outputs are the recorded ones, but for the order in which another machine sums.

    Args:
        own: outputs.
        written: those recorded.
        scale: the largest of them.
    """
    return own.shape == written.shape and bool(
        np.allclose(own, written, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)
    )


def _without(finding: Finding) -> Checked:
    """Say what is left unchecked where nothing was found that could be asked again."""
    reason = str(finding.values["proof"].value) if "proof" in finding.values else "no proof of it is kept"
    return Checked(unchecked=(f"{finding.id}: that it is {finding.verdict!r}: {reason}",))


def _told(finding: Finding, faults: list[str]) -> Checked:
    return Checked(complaints=tuple(Complaint(f"{finding.id}: {finding.title}", words) for words in faults))


def _answers(inputs: np.ndarray, model: Model, other: Witness) -> dict[str, np.ndarray]:
    """Return the outputs (n, outputs) of the model, and of the other program if there is one."""
    x = torch.from_numpy(inputs)
    with torch.no_grad():
        found = {"the model": model(x.to(model.device)).flatten(1).cpu().numpy()}
    if other.run is not None:
        found[other.name] = other.run(x).flatten(1).cpu().numpy()
    return found
