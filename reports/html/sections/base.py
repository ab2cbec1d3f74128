"""What a panel is: a family's template and what it is filled with."""

from __future__ import annotations

from abc import ABC, abstractmethod
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

    def headline(self, finding: Finding) -> list[Figure]:  # noqa: ARG002  # most families have no figure of the whole
        """Return what a hurried reader must see on top of the report, for findings of status "ok"."""
        return []

    @abstractmethod
    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Return the names that the body uses; called for findings of status "ok" only."""

    def render(self, finding: Finding, run: Evidence, pictures: Pictures, jinja: Environment) -> Markup:
        """Return the panel."""
        body = Markup()
        if finding.status == "ok":
            filled = _template(jinja, self.body).render(f=finding, **self.context(finding, run, pictures))
            body = Markup(filled)  # rendered with autoescape on
        about = {"f": finding, "body": body, "wide": self.wide, "anchor": run.anchor(finding)}
        return Markup(jinja.get_template("panel.html").render(about))  # as above


@lru_cache(maxsize=32)
def _template(jinja: Environment, body: str) -> Template:
    return jinja.from_string(body)


sections: Family[Section] = Family("section", "xai.reports.html.sections", Section, key=lambda leaf: leaf.family)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base


def section_for(family: str) -> Section:
    """Return the panel for a family of findings, or the one for any family."""
    known = sections.all()
    return known.get(family, known[FALLBACK])()
