"""What a corruption is: a formula on values in [0, 1], which the base runs seeded, and whose answer it checks.

Severities are read from published tables: CIFAR-10-C's for pictures whose shorter side has at most 64 pixels, and for
what is no picture; ImageNet-C's for larger ones (Hendrycks & Dietterich 2019). A table was made for pictures of one
size, 32 or 224 pixels. Lengths in it (radii, displacements, flakes) are multiplied by the shorter side over that size,
so that a picture looks equally damaged at any resolution; at 32 and 224 pixels the numbers are the published ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.models.card import Input
from xai.registry import Family, Method
from xai.reports.records import Scalar
from xai.runtime import Runtime

Row = TypeVar("Row")

HENDRYCKS_DIETTERICH = (
    "Hendrycks & Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
)
MU_GILMER = "Mu & Gilmer 2019, MNIST-C: A Robustness Benchmark for Computer Vision"
SEVERITIES = (1, 2, 3, 4, 5)
SMALL = 64  # pixels of the shorter side, up to which a picture is a small one
LEAST = 8  # pixels of the shorter side
ROUNDING = 1e-6  # of the range: what an input may lie outside of it


@dataclass(frozen=True)
class Table:
    """The strengths of the five severities, as they were published.

    Args:
        name: of the data set that they made.
        side: of the pictures they were made for, in pixels.
        rows: a named tuple for each severity.
    """

    name: str
    side: int
    rows: tuple[Any, ...]


@dataclass(frozen=True)
class How(Generic[Row]):
    """What a formula may use besides the input.

    Args:
        row: of the table.
        scale: what lengths in the row are multiplied by.
        rng: where random numbers come from; they follow from the run's seed, the sample and the severity.
    """

    row: Row
    scale: float
    rng: np.random.Generator


def imagenet_c(*rows: Any) -> Table:
    """Return a table of ImageNet-C: five rows, for pictures of 224 pixels."""
    return Table("ImageNet-C", 224, rows)


def cifar_c(*rows: Any) -> Table:
    """Return a table of CIFAR-10-C: five rows, for pictures of 32 pixels."""
    return Table("CIFAR-10-C", 32, rows)


def mnist_c(*rows: Any) -> Table:
    """Return a table of MNIST-C (Mu & Gilmer 2019): five rows, for pictures of 28 pixels."""
    return Table("MNIST-C", 28, rows)


class Corruption(BaseModel, ABC):
    """A way in which inputs get worse without anyone's intent. Its fields are its parameters.

    A subclass declares `about`, its tables, whether it is for `pictures_only`, and writes `corrupt`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: ClassVar[Method]
    small: ClassVar[Table]
    large: ClassVar[Table]
    pictures_only: ClassVar[bool] = True

    severity: int = Field(default=3, ge=1, le=5, description="how strong, from 1 to 5")

    @abstractmethod
    def corrupt(self, x: np.ndarray, how: How[Any]) -> np.ndarray:
        """Return a corrupted input of the same shape; values outside [0, 1] are clipped afterwards.

        Args:
            x: (channels, height, width) of a picture or of any other shape, float64 in [0, 1]; may be overwritten.
            how: strength, scale and random numbers.
        """

    def applies(self, spec: Input) -> None:
        """Raise NotApplicableError if inputs like these cannot be corrupted in this way."""
        if spec.range is None:
            raise NotApplicableError("strength is a share of the inputs' range, and the card gives none: input.range")
        if not self.pictures_only:
            return
        if not spec.is_picture:
            raise NotApplicableError(f"it happens to pictures, and the model takes inputs of shape {spec.shape}")
        if min(spec.shape[1:]) < LEAST:
            raise NotApplicableError(
                f"it needs pictures of at least {LEAST} x {LEAST} pixels, and the model takes "
                f"{spec.shape[1]} x {spec.shape[2]}"
            )

    def chosen(self, spec: Input) -> dict[str, Scalar]:
        """Return the parameters as they are used on inputs like these: table, scale and strengths by name."""
        table, scale = self._table(spec)
        strengths: dict[str, Scalar] = table.rows[self.severity - 1]._asdict()
        return {**self.model_dump(), "table": table.name, "scale of lengths": scale, **strengths}

    def apply(self, x: torch.Tensor, spec: Input, runtime: Runtime, key: str) -> torch.Tensor:
        """Return a corrupted copy of one input.

        Random numbers follow from the runtime's seed, the corruption's name, the severity and the key: neither
        neighbours nor batches matter.

        Args:
            x: of the shape spec.shape, float32 in input units, on any device.
            spec: the input that the model declares.
            runtime: gives the seed.
            key: the sample's digest.

        Raises:
            NotApplicableError: see `applies`.
            UsageError: x is of another shape, or leaves the range.
            AnalysisError: the formula returned nothing usable.
        """
        self.applies(spec)
        low, high = spec.range or (0.0, 1.0)  # applies has refused what has none
        unit = _in_unit(x, spec.shape, low, high)
        table, scale = self._table(spec)
        seed = runtime.generator(self.about.name, key, str(self.severity)).initial_seed()
        found = self.corrupt(unit, How(table.rows[self.severity - 1], scale, np.random.default_rng(seed)))
        if found.shape != spec.shape:
            raise AnalysisError(f"expected an input of shape {spec.shape}, {self.about.name} returned {found.shape}")
        if not np.isfinite(found).all():
            raise AnalysisError(f"{self.about.name} returned NaN or infinite values")
        corrupted = torch.from_numpy(low + (high - low) * np.clip(found, 0, 1)).to(torch.float32)
        return corrupted.clamp(low, high).to(x.device)

    def apply_all(self, x: torch.Tensor, spec: Input, runtime: Runtime, keys: Sequence[str]) -> torch.Tensor:
        """Return corrupted copies of a batch (batch, *spec.shape), with a key for each: see `apply`."""
        if len(keys) != len(x):
            raise UsageError(f"expected a key for each of {len(x)} inputs, received {len(keys)}")
        return torch.stack([self.apply(one, spec, runtime, key) for one, key in zip(x, keys, strict=True)])

    def _table(self, spec: Input) -> tuple[Table, float]:
        """Return the table for inputs like these, and what its lengths are multiplied by."""
        if not spec.is_picture:
            return self.small, 1.0
        side = min(spec.shape[1:])
        table = self.small if side <= SMALL else self.large
        return table, side / table.side


def _in_unit(x: torch.Tensor, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Return the input mapped from its range onto [0, 1], float64."""
    if tuple(x.shape) != shape:
        raise UsageError(f"expected an input of shape {shape}, received {tuple(x.shape)}")
    values: np.ndarray = x.detach().to("cpu", torch.float64).numpy()
    unit = (values - low) / (high - low)
    if not (unit.min() >= -ROUNDING and unit.max() <= 1 + ROUNDING):
        raise UsageError(
            f"expected values in [{low:g}, {high:g}] (input units), received {values.min():g} to {values.max():g}"
        )
    return np.clip(unit, 0, 1)


corruptions: Family[Corruption] = Family(
    "corruption",
    "xai.robustness.corruptions",
    Corruption,  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
    key=lambda leaf: leaf.about.name,
)
