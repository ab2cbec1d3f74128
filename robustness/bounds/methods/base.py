"""What a method is that bounds outputs: how the boxes are made, and how the rows of a specification."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from xai.registry import Family, Method
from xai.robustness.bounds.analysis import Analysis


class Bounder(ABC):
    """A method that bounds linear functions of a step's value."""

    about: ClassVar[Method]
    dtype: ClassVar[torch.dtype] = torch.float64
    boxes_only: ClassVar[bool] = False  # whether nothing goes back to the input
    single: ClassVar[bool] = False  # whether large networks are bounded in float32, its rounding covered
    inner: ClassVar[int] = 0  # how often each number of an inner layer goes back to the input

    @abstractmethod
    def prepare(self, analysis: Analysis, last: int) -> None:
        """Compute the boxes of all steps up to one."""

    @abstractmethod
    def lowest(self, analysis: Analysis, last: int, rows: torch.Tensor) -> torch.Tensor:
        """Return a lower bound (rows, batch) of rows (rows, batch, ...) times that step's value, once prepared."""


bounders: Family[Bounder] = Family("bound", "xai.robustness.bounds.methods", Bounder, lambda leaf: leaf.about.name)  # type: ignore[type-abstract]  # the family's base is abstract by design
