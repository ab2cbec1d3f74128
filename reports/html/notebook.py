"""A run, or one finding, as a notebook shows it: pictures, answers and what the measures say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai.errors import UsageError
from xai.reports.audit import overall
from xai.reports.evidence import Evidence
from xai.reports.figures import (
    CHANNELS,
    channel_pictures,
    coloured,
    contact_sheet,
    is_blank,
    is_signed,
    mosaic,
    overlaid,
    picture,
    scale,
    strongest,
)
from xai.reports.html.audit import MARKS, counts, ranked, said, unassessed
from xai.reports.html.page import Inline, environment
from xai.reports.records import Finding, ModelRecord
from xai.reports.words import amount

SHOWN = 20  # groups or requirements; a notebook is no report
FIRST = 5  # lines of what was not assessed


def summary(run: Evidence, findings: Sequence[Finding]) -> str:
    """Return HTML for some findings of a run, grouped by input."""
    places = dict.fromkeys(finding.input for finding in findings)
    groups = [_group(run, place, [f for f in findings if f.input == place]) for place in list(places)[:SHOWN]]
    more = f"; the first {SHOWN} are shown, save(folder) writes them all" if len(places) > SHOWN else ""
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    model = run.record.model
    said = f"{count}{more}. Maps are heuristics: they prove nothing." if findings else _size(model)
    words = f"{model.name}: {said}"
    return environment().get_template("notebook.html").render(groups=groups, words=words)


def audit_summary(run: Evidence) -> str:
    """Return HTML for a run with an audit: verdict, requirements with what was measured, what was not assessed."""
    audit = run.record.audit
    if audit is None:
        raise UsageError("nothing was required of this run: there is no audit to show")
    told, lines = ranked(audit.requirements), unassessed(run.findings)
    return (
        environment()
        .get_template("notebook_audit.html")
        .render(
            model=run.record.model.name,
            verdict=overall(audit),
            said=said(audit),
            counts=counts(audit),
            requirements=told[:SHOWN],
            more=len(told[SHOWN:]),
            unassessed=lines[:FIRST],
            further=len(lines[FIRST:]),
            policy=audit.policy,
            marks=MARKS,
        )
    )


def _size(model: ModelRecord) -> str:
    """Say how large a model is."""
    if model.parameters is None:
        return f"a black box: {model.no_graph}"
    size = f"{amount(model.parameters)} parameters in {len(model.layers)} layer{'s' * (len(model.layers) != 1)}"
    return f"{size}, {amount(model.multiply_adds)} multiply-adds an input; save(folder) writes a report with a drawing"


def _group(run: Evidence, place: str | None, findings: list[Finding]) -> dict[str, Any]:
    pictures = Inline()
    found = [{"finding": finding, **_image(run, finding, pictures)} for finding in findings]
    if place is None:
        return {"picture": "", "findings": found}
    record = run.input(findings[0])
    pixels = picture(run.prepared(record), record.range)
    first = record.predictions[0]
    return {
        "picture": pictures.add(pixels),
        "small": pixels.shape[1] <= 128,
        "name": record.id,
        "predicted": first.name,
        "probability": first.probability,
        "findings": found,
    }


def _image(run: Evidence, finding: Finding, pictures: Inline) -> dict[str, Any]:
    """Return the picture of a finding's answer, if it has one."""
    pixels = _pixels(run, finding) if finding.status == "ok" else None
    if pixels is None:
        return {"image": "", "small": False}
    return {"image": pictures.add(pixels), "small": pixels.shape[1] <= 128}


def _pixels(run: Evidence, finding: Finding) -> np.ndarray | None:
    held = finding.artefacts
    if "picture" in held:
        return picture(run.array(finding, "picture"), run.range)
    if "pictures" in held:
        return contact_sheet(channel_pictures(run, finding))
    if "map" in held and not is_blank(finding):
        record, signed = run.input(finding), is_signed(finding)
        colours = coloured(run.array(finding, "map"), scale(run, finding), signed=signed)
        return overlaid(picture(run.prepared(record), record.range), colours)
    if "activation" in held and len(held["activation"].shape) == 3:
        raw = run.array(finding, "activation")
        sheet = mosaic(raw[strongest(raw)[:CHANNELS]])
        between = np.isnan(sheet)[..., None]
        return np.where(between, np.uint8(255), coloured(sheet, scale(run, finding), signed=False))
    return None
