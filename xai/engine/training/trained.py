"""A network that was trained, as its user holds it: model, course, outcome, and what became of its parent's answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from xai.engine.training.result import Result
from xai.models.model import Model
from xai.reports.artefacts import FolderStore
from xai.reports.diff import Comparison, compare
from xai.reports.folder import BEFORE, DIFF, DIFF_DATA, REPORT, artefacts_of, publish, writing
from xai.reports.html.diff import render_diff
from xai.reports.run import Run
from xai.robustness.training.watch import Row


@dataclass(frozen=True)
class Trained:
    """A network that was trained, and what became of it.

    Args:
        run: the course of the training, and the outcome on held-out images.
        before: the same measurements of the parent.
        result: the file, its card, and the model that is opened from it.
        epochs: the figures of every epoch on the validation images, and what was noticed in it.
    """

    run: Run
    before: Run
    result: Result
    epochs: tuple[Row, ...]

    @property
    def model(self) -> Model:
        """The trained model."""
        return self.result.model

    @property
    def network(self) -> nn.Module:
        """The trained module."""
        return self.result.network

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.run._repr_html_()

    @cached_property
    def comparison(self) -> Comparison:
        """What became of the parent's answers."""
        return compare(self.before, self.run)

    def publish(self, partial: Path) -> None:
        """Write both runs and their comparison into a folder that holds their arrays already."""
        found = self.comparison
        publish(self.before, partial / BEFORE)
        (partial / DIFF_DATA).write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (partial / DIFF).write_text(render_diff(found), encoding="utf-8")
        publish(self.run, partial)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write model, card, both runs and their comparison to a folder, all or nothing; return report.html's path."""
        with writing(Path(folder), overwrite=overwrite) as partial:
            for run, place in ((self.before, partial / BEFORE), (self.run, partial)):
                for name in artefacts_of(run.record):
                    FolderStore(place).write(name, run.store.read(name))
            self.publish(partial)
        return Path(folder) / REPORT
