"""A run from its first moment to its record: what every verb says of itself in the same words."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xai.engine.facts import versions
from xai.reports.artefacts import Store
from xai.reports.records import AuditRecord, Finding, InputRecord, ModelRecord, RunRecord, Scalar
from xai.reports.run import Run


@dataclass(frozen=True)
class Started:
    """A run under way.

    Args:
        verb: that was called.
        command: what makes this run again.
        created: when it began, which is when this is made.
    """

    verb: str
    command: str
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    _begun: float = field(default_factory=time.perf_counter)

    def finished(
        self,
        model: ModelRecord,
        settings: Mapping[str, Scalar],
        store: Store,
        *,
        findings: Iterable[Finding],
        inputs: Iterable[InputRecord] = (),
        notes: Iterable[str] = (),
        audit: AuditRecord | None = None,
    ) -> Run:
        """Return the run.

        Args:
            model: as it was understood.
            settings: of the runtime.
            store: that keeps its arrays.
            findings: all that was found.
            inputs: those that were looked at closely.
            notes: what a reader must know of the whole run.
            audit: policy and requirements, of an audit.
        """
        return Run(
            RunRecord(
                verb=self.verb,
                command=self.command,
                created=self.created.isoformat(timespec="seconds"),
                seconds=time.perf_counter() - self._begun,
                versions=versions(),
                settings=dict(settings),
                model=model,
                inputs=tuple(inputs),
                findings=tuple(findings),
                notes=tuple(notes),
                audit=audit,
            ),
            store,
        )
