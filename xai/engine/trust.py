"""What a measure or an alarm said, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from xai.engine.attempt import Attempt
from xai.registry import Method
from xai.reports.records import Artefact, Scalar, Speaks, Trust, Value


class Said(Protocol):
    """What is common to a measure's judgement and an alarm's signal."""

    @property
    def sentence(self) -> str:
        """What was found, in plain words."""

    @property
    def speaks(self) -> Speaks:
        """For the answer, against it, or neither."""

    @property
    def values(self) -> Mapping[str, Value]:
        """What was measured, by name."""


S = TypeVar("S", bound=Said)


def trust_record(
    about: Method,
    tried: Attempt[S],
    parameters: Mapping[str, Scalar],
    artefacts: Mapping[str, Artefact] | None = None,
) -> Trust:
    """Return the record of a judgement, or of why there is none."""
    said = tried.answer
    return Trust(
        measure=about.name,
        title=about.title,
        sentence=said.sentence if said else "",
        speaks=said.speaks if said else "neither",
        description=about.summary,
        limits=about.limits,
        source=about.source,
        kind=about.kind.value,
        status=tried.status,
        reason=tried.reason,
        parameters=dict(parameters),
        values=dict(said.values) if said else {},
        seconds=tried.seconds,
        artefacts=dict(artefacts or {}),
    )
