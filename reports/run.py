"""A run as its user holds it: findings by method, maps, pictures, and a folder to keep it in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from xai.errors import AnalysisError, UsageError, unknown
from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.records import Finding, RequirementRecord, Value
from xai.reports.table import rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Found:
    """One finding with its arrays at hand.

    Args:
        record: the finding.
        run: that it belongs to.
    """

    record: Finding
    run: Evidence

    @property
    def map(self) -> np.ndarray:
        """An explanation's raw map, (height, width) float32; raises AnalysisError if it was skipped or failed."""
        return self._array("map")

    @property
    def picture(self) -> np.ndarray:
        """A visualization's picture, (channels, height, width) float32 in input units; raises AnalysisError as map."""
        return self._array("picture")

    @property
    def pictures(self) -> np.ndarray:
        """Pictures of several channels, (n, channels, height, width) float32 in input units; as `picture`."""
        return self._array("pictures")

    @property
    def activation(self) -> np.ndarray:
        """A layer's value, (channels, rows, columns) or (units,) float32; raises AnalysisError as map."""
        return self._array("activation")

    @property
    def gradient(self) -> np.ndarray:
        """The gradient of the target's output with respect to that value, of its shape; raises AnalysisError as map."""
        return self._array("gradient")

    @property
    def lower(self) -> np.ndarray:
        """Lower bounds float64: (images, outputs) for one size of the change, (sizes, images, outputs) for several.

        Of a single image (sizes, outputs). Raises AnalysisError as map.
        """
        return self._parts("lower")

    @property
    def upper(self) -> np.ndarray:
        """Upper bounds, of the shape of `lower`; raises AnalysisError as map."""
        return self._parts("upper")

    @property
    def winners(self) -> list[Any]:
        """The answers that can win: a list of names for each image, such lists by size of the change if several.

        Raises AnalysisError as map, UsageError where nothing wins.
        """
        able = self._parts("winners")
        names = [row["name"] for row in get_rows(self.run.store, self.record.artefacts["answers"])]

        def named(part: np.ndarray) -> list[Any]:
            if part.ndim > 1:
                return [named(one) for one in part]
            return [names[index] for index in np.flatnonzero(part)]

        return named(able)

    @property
    def values(self) -> dict[str, Value]:
        """What was measured, by name."""
        return self.record.values

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row an image, for findings about a data set; raises AnalysisError as map."""
        self._kept("rows")
        return list(get_rows(self.run.store, self.record.artefacts["rows"]))

    def show(self) -> Figure:
        """Return what was found as a matplotlib figure: a map over its picture, a picture's curve, channels."""
        from xai.reports.figures import figure  # matplotlib takes a while to import

        return figure(self.run, self.record)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from xai.reports.html.notebook import summary  # the template engine is not needed before

        return summary(self.run, [self.record])

    def _array(self, name: str) -> np.ndarray:
        self._kept(name)
        return self.run.array(self.record, name)

    def _parts(self, name: str) -> np.ndarray:
        """Return an array that is kept whole, or in parts of some images each."""
        if name in self.record.artefacts or self.record.status != "ok":
            return self._array(name)
        held = sorted(key for key in self.record.artefacts if key.startswith(f"{name}/"))
        self._kept(held[0] if held else name)
        parts = [self.run.array(self.record, key) for key in held]
        several = sum(name.startswith("epsilon ") for name in self.record.parameters) > 1
        return np.concatenate(parts, axis=int(several))

    def _kept(self, name: str) -> None:
        record = self.record
        if record.status != "ok":
            raise AnalysisError(f"{record.title} was {record.status}: {record.reason}")
        if name not in record.artefacts:
            raise UsageError(f"{record.title} gives no {name!r}; it gives: {', '.join(record.artefacts)}")


class Run(Evidence):
    """What was asked and what came out.

    `run["gradcam"]` is a method's finding, `run["gradcam", "cat"]` the one for the input of that id, and
    `run["gradcam", "cat", "tiger"]` the one for that target.
    """

    def __getitem__(self, key: str | tuple[str, ...]) -> Found:
        method, *rest = key if isinstance(key, tuple) else (key,)
        words: list[str | None] = [*rest]
        found = [finding for finding in self.findings if finding.method == method]
        if not found:
            raise unknown("finding of method", method, dict.fromkeys(finding.method for finding in self.findings))
        if words and not any(finding.input == words[0] for finding in found):
            words = [None, *words]  # a finding that is about the model alone has no input to name
        for word, name in zip(words, (_input, _target), strict=False):
            if word is not None:
                found = [finding for finding in found if name(finding) == word] or _none(word, found)
        if len(found) > 1:
            example = ", ".join(map(repr, (method, *_names(found[0]))))
            raise UsageError(f"there are {len(found)} findings of {method}; name input and target too: run[{example}]")
        return Found(found[0], self)

    def __iter__(self) -> Iterator[Found]:
        """Yield every finding."""
        return (Found(finding, self) for finding in self.findings)

    @property
    def requirements(self) -> tuple[RequirementRecord, ...]:
        """What was required and what came of it, where anything was."""
        return self.record.audit.requirements if self.record.audit else ()

    @property
    def passed(self) -> bool:
        """Whether all that must hold holds; what is not decided has not passed. Raises UsageError without an audit."""
        if self.record.audit is None:
            raise UsageError("nothing was required of this run, so it can not pass: only an audit can")
        from xai.reports.audit import overall  # what intervals are made with takes a while to import

        return overall(self.record.audit) == "holds"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas data frame with a row a finding; see xai.reports.table.rows."""
        import pandas as pd  # it takes a while to import

        return pd.DataFrame(rows(self))

    def _repr_html_(self) -> str:
        """Return what a notebook shows: of an audit its verdict and requirements, of any other run its findings."""
        from xai.reports.html.notebook import audit_summary, summary  # the template engine is not needed before

        return audit_summary(self) if self.record.audit else summary(self, self.findings)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write record, artefacts, report and manifest to a folder, all or nothing; return report.html's path."""
        from xai.reports.folder import save  # the template engine is not needed before

        return save(self, Path(folder), overwrite=overwrite)


def _input(finding: Finding) -> str | None:
    return finding.input


def _target(finding: Finding) -> str | None:
    return finding.target.name if finding.target else None


def _names(finding: Finding) -> list[str]:
    """Return what tells a method's findings apart: input and target."""
    return [name for name in (_input(finding), _target(finding)) if name is not None]


def _none(word: str, findings: Sequence[Finding]) -> NoReturn:
    raise unknown("input or target", word, dict.fromkeys(name for finding in findings for name in _names(finding)))
