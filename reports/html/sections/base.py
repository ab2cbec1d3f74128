"""What a panel is: a family's template and what it is filled with."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jinja2 import Environment, Template
from markupsafe import Markup

from xai.registry import Family
from xai.reports.evidence import Evidence
from xai.reports.records import Finding

FALLBACK = "*"


class Figure(NamedTuple):
    """A number and what it is."""

    value: str
    words: str


LEVELS = 8  # of shading


class Cell(NamedTuple):
    """A text in a table.

    Args:
        text: of it.
        below: a smaller one, "" for none.
        level: how strongly it is shaded, 0 (not at all) to 8.
    """

    text: str
    below: str = ""
    level: int = 0


class Row(NamedTuple):
    """What a table says of one finding.

    Args:
        finding: that it is about.
        cells: of each column.
    """

    finding: Finding
    cells: tuple[Cell, ...]


class Table(NamedTuple):
    """Several findings of one family in one view, a row each.

    Args:
        title: of all of them together.
        meaning: what is compared.
        caption: what the cells are.
        columns: their heads; the first is that of the findings' titles.
        rows: in the order that they are told.
        secondary: whether the table is folded too, where it is one of many.
    """

    title: str
    meaning: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    secondary: bool = False


class Pictures(ABC):
    """Where the page's pictures go."""

    @abstractmethod
    def add(self, pixels: np.ndarray) -> str:
        """Keep a picture, bytes (height, width, 3), and return its address for the page."""


class Section(ABC):
    """The panel of one family of findings.

    A subclass names the `family`, gives the `body` (a Jinja template that is autoescaped; `f` is the finding) and
    what the body needs in `context`. Head, limits, parameters and evidence are common to all panels.
    """

    family: ClassVar[str]
    body: ClassVar[str]
    wide: ClassVar[bool] = False  # whether it takes the page's whole width
    secondary: ClassVar[bool] = False  # whether it is folded where it is one of many about an input

    def headline(self, finding: Finding) -> list[Figure]:  # noqa: ARG002  # most families have no figure of the whole
        """Return what a hurried reader must see on top of the report, for findings of status "ok"."""
        return []

    def table(self, findings: Sequence[Finding]) -> Table | None:  # noqa: ARG002  # most families are told one by one
        """Return one view of several findings, whose panels are then folded; None where each is told by itself."""
        return None

    @abstractmethod
    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Return the names that the body uses; called for findings of status "ok" only."""

    def render(
        self, finding: Finding, run: Evidence, pictures: Pictures, jinja: Environment, *, anchored: bool = True
    ) -> Markup:
        """Return the panel; what points to the finding finds it where it is anchored."""
        body = Markup()
        if finding.status == "ok":
            filled = template(jinja, self.body).render(f=finding, **self.context(finding, run, pictures))
            body = Markup(filled)  # rendered with autoescape on
        anchor = run.anchor(finding) if anchored else ""
        about = {"f": finding, "body": body, "wide": self.wide, "anchor": anchor}
        return Markup(jinja.get_template("panel.html").render(about))  # as above

    def together(
        self, findings: Sequence[Finding], run: Evidence, pictures: Pictures, jinja: Environment
    ) -> list[Markup]:
        """Return the panels of several findings: each by itself, or folded below one table."""
        table = self.table(findings) if len(findings) > 1 else None
        panels = [self.render(one, run, pictures, jinja, anchored=table is None) for one in findings]
        if table is None:
            return panels
        shown = jinja.get_template("gathered.html").render(
            t=table, panels=panels, anchor=run.anchor, folded=table.secondary and run.record.audit is not None
        )
        return [Markup(shown)]  # as above


def level(share: float) -> int:
    """Return the shade of a share, 0 for nothing only."""
    return math.ceil(LEVELS * min(max(share, 0.0), 1.0))


@lru_cache(maxsize=32)
def template(jinja: Environment, body: str) -> Template:
    """Return a body as a template of a page's environment."""
    return jinja.from_string(body)


sections: Family[Section] = Family("section", "xai.reports.html.sections", Section, key=lambda leaf: leaf.family)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base


def section_for(family: str) -> Section:
    """Return the panel for a family of findings, or the one for any family."""
    known = sections.all()
    return known.get(family, known[FALLBACK])()
