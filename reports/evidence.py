"""A run's record and the arrays beside it: what every rendering reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xai.reports.artefacts import Store, get
from xai.reports.records import Finding, InputRecord, RunRecord, Trust


@dataclass(frozen=True)
class Evidence:
    """What was asked and what came out.

    Args:
        record: of the run.
        store: keeps its arrays.
    """

    record: RunRecord
    store: Store

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings' records."""
        return self.record.findings

    def input(self, finding: Finding) -> InputRecord:
        """Return the input that a finding is about."""
        return next(record for record in self.record.inputs if record.id == finding.input)

    @cached_property
    def extremes(self) -> dict[tuple[str, str], tuple[float, float, int]]:
        """Lowest and highest value of all maps of a method and unit, and how many there are."""
        found: dict[tuple[str, str], tuple[float, float, int]] = {}
        for finding in self.findings:
            if finding.status == "ok" and "highest" in finding.values:
                low, high = (_number(finding, name) for name in ("lowest", "highest"))
                lowest, highest, count = found.get(kind(finding), (low, high, 0))
                found[kind(finding)] = (min(low, lowest), max(high, highest), count + 1)
        return found

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value of an input."""
        low, high = self.record.model.card["input"]["range"]
        return float(low), float(high)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {finding.id: place for place, finding in enumerate(self.findings, 1)}

    def anchor(self, finding: Finding) -> str:
        """Return the name of a finding's place on the page, "" where nothing points to it."""
        return f"finding-{self._places[finding.id]}" if self.record.audit else ""

    def array(self, finding: Finding | Trust, name: str) -> np.ndarray:
        """Return one of a finding's arrays, or of a measure's; raise TamperedError if its bytes changed."""
        return get(self.store, finding.artefacts[name])

    def prepared(self, record: InputRecord) -> np.ndarray:
        """Return the tensor the model got, (channels, height, width) in input units."""
        return get(self.store, record.prepared)


def kind(finding: Finding) -> tuple[str, str]:
    """Return what maps must have in common to be compared: method and unit."""
    return finding.method, finding.values["highest"].unit if "highest" in finding.values else ""


def _number(finding: Finding, name: str) -> float:
    value = finding.values[name].value
    return float(value) if isinstance(value, int | float) else math.nan
