"""A whole audited run for the tests of its renderings: every verdict, hostile names, a skipped finding."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.reports.findings import finding, images, stored, whole
from tests.reports.test_page import HOSTILE
from xai.reports.artefacts import MemoryStore
from xai.reports.audit import begin, settle
from xai.reports.policy.reading import read_policy
from xai.reports.records import ProfileRecord, Value
from xai.reports.run import Run

POLICY = f"""\
model: {{source: net.pt, intended_use: sorting shapes}}
data: {{test: images/, ood: {{noise: foreign/}}}}
requirements:
  - {{id: ACC, text: Nearly all answers are right., require: accuracy >= 80 %, clauses: [own 1, own 2]}}
  - id: ROB
    text: '=1+1 {HOSTILE.replace("'", "''")} | pipe'
    require: robust_accuracy(standard, 2/255) >= 90 %
    clauses: [own 2]
  - {{id: ECE, require: ece <= 0.05}}
  - {{id: OOD, require: ood.auroc(noise) >= 0.9, severity: should}}
  - {{id: FAST, require: "value(timing, 'seconds an image') <= 0.1 as measured", severity: should}}
  - {{id: SAME, require: "value(determinism, 'same twice') == true", severity: may}}
"""


def audited(folder: Path, profiles: tuple[ProfileRecord, ...] = (), fallen: int = 60, name: str = HOSTILE) -> Run:
    """Return a run with an audit; so many of its 200 images fall to the smallest change."""
    path = folder / "audit.yaml"
    path.write_text(POLICY)
    audit = begin(read_policy(path), profiles, now=datetime(2026, 1, 1, tzinfo=UTC))
    audit = audit.model_copy(update={"policy": audit.policy.model_copy(update={"source": "audit.yaml"})})
    store = MemoryStore()
    right = [i % 20 != 3 for i in range(200)]
    distance = [0.005 if i < fallen else 0.5 for i in range(200)]
    findings = (
        stored(images(right, distance, ("day", f"=cmd|{HOSTILE}")), ("2/255",), store),
        finding("calibration", {"ece": Value(value=0.04, n=200, interval=(0.02, 0.07))}, kind="statistical"),
        finding("ood", status="skipped", reason="no outlying data were named"),
        finding("timing", {"seconds an image": Value(value=0.02)}),
        finding("determinism", {"same twice": Value(value=True)}),
    )
    return whole(*findings, audit=settle(audit, findings), store=store, name=name)
