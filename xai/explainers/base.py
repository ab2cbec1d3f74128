"""What an explainer is: a formula from input and target to a map; the base checks and measures what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from xai.errors import AnalysisError
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Family, Method, Need
from xai.reports.records import Scalar, Value
from xai.runtime import Runtime


@dataclass(frozen=True)
class Attribution:
    """What a method's formula gives.

    Args:
        map: (height, width) of the prepared input, raw; high speaks for the target.
        noise: differences within the map up to this size are rounding.
        chosen: parameters as they were used, where the method chose them.
        values: what it measured besides.
        notes: what a reader must know of this answer.
    """

    map: torch.Tensor
    chosen: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    noise: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """An attribution that was checked: (height, width) float32 and what was measured of it."""

    map: np.ndarray
    parameters: dict[str, Scalar]
    values: dict[str, Value]
    notes: tuple[str, ...]


class Explainer(BaseModel, ABC):
    """A method that gives each pixel a number. Its fields are its parameters.

    A subclass declares `about`, whether its map is `signed`, the map's `unit`, and writes `attribute`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    about: ClassVar[Method]
    signed: ClassVar[bool]
    unit: ClassVar[str]

    @abstractmethod
    def attribute(self, model: Model, x: torch.Tensor, target: Target, runtime: Runtime) -> Attribution:
        """Return the map of target for one input x (channels, height, width) in input units, on the model's device."""

    def check(self, model: Model) -> None:
        """Raise UsageError if a parameter does not fit this model: before anything is computed."""

    def explain(self, model: Model, x: torch.Tensor, target: Target, runtime: Runtime, key: str) -> Explanation:
        """Return the checked map of target for one input x (channels, height, width) in input units.

        The method's random numbers follow from the runtime's seed, its name and the key, the sample's id.

        Raises:
            NotApplicableError: the method does not apply to this model.
            AnalysisError: the method returned no map, or one with NaN.
        """
        with runtime.seeded(self.about.name, key), torch.set_grad_enabled(Need.GRADIENTS in self.about.needs):
            found = self.attribute(model, x.to(model.device), target, runtime)
        raw = found.map.detach().to("cpu", torch.float32).numpy()
        if raw.shape != x.shape[-2:]:
            raise AnalysisError(f"expected a map of {tuple(x.shape[-2:])}, the method returned {raw.shape}")
        if not np.isfinite(raw).all():
            raise AnalysisError("the map holds NaN or infinite values")
        blank = float(raw.max()) - float(raw.min()) <= found.noise
        values = {**found.values, **_measured(raw, self.unit), "blank": Value(value=blank)}
        notes = (*found.notes, _blank_note(raw)) if blank else found.notes
        return Explanation(raw, {**self.model_dump(), **found.chosen}, values, notes)


def _measured(raw: np.ndarray, unit: str) -> dict[str, Value]:
    """Return what can be said of any map."""
    row, column = np.unravel_index(int(np.abs(raw).argmax()), raw.shape)
    return {
        "lowest": Value(value=float(raw.min()), unit=unit),
        "highest": Value(value=float(raw.max()), unit=unit),
        "peak row": Value(value=int(row), unit="pixels from the top"),
        "peak column": Value(value=int(column), unit="pixels from the left"),
        "half in": Value(value=_half_area(raw), unit="share of the picture that holds half of the map's total"),
    }


def _half_area(raw: np.ndarray) -> float | None:
    """Return the smallest share of the pixels that holds half of the map's absolute total."""
    sizes = np.sort(np.abs(raw).astype(np.float64).ravel())[::-1]
    total = sizes.sum()
    if total == 0:
        return None
    return float((np.searchsorted(np.cumsum(sizes), total / 2) + 1) / sizes.size)


def _blank_note(raw: np.ndarray) -> str:
    around = "the value" if raw.max() == raw.min() else "but for rounding the value"
    return f"The map is blank: every pixel has {around} {raw.flat[0]:.3g}. It says nothing about this picture."


explainers: Family[Explainer] = Family("method", "xai.explainers", Explainer, key=lambda leaf: leaf.about.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
