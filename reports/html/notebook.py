"""A run, or one finding, as a notebook shows it: pictures, answers and what the measures say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.figures import coloured, is_blank, is_signed, overlaid, picture, scale
from xai.reports.html.page import Inline, environment
from xai.reports.records import Finding

SHOWN = 20  # groups; a notebook is no report


def summary(run: Evidence, findings: Sequence[Finding]) -> str:
    """Return HTML for some findings of a run, grouped by input."""
    places = dict.fromkeys(finding.input for finding in findings)
    groups = [_group(run, place, [f for f in findings if f.input == place]) for place in list(places)[:SHOWN]]
    more = f"; the first {SHOWN} are shown, save(folder) writes them all" if len(places) > SHOWN else ""
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    words = f"{run.record.model.name}: {count}{more}. Maps are heuristics: they prove nothing."
    return environment().get_template("notebook.html").render(groups=groups, words=words)


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
    if finding.status == "ok" and "picture" in finding.artefacts:
        pixels = picture(run.array(finding, "picture"), run.range)
    elif finding.status == "ok" and "map" in finding.artefacts and not is_blank(finding):
        record, signed = run.input(finding), is_signed(finding)
        colours = coloured(run.array(finding, "map"), scale(run, finding), signed=signed)
        pixels = overlaid(picture(run.prepared(record), record.range), colours)
    else:
        return {"image": "", "small": False}
    return {"image": pictures.add(pixels), "small": pixels.shape[1] <= 128}
