"""Black boxes: what gives outputs and shows nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from xai.errors import UsageError


class Opaque(nn.Module):
    """Something that maps a batch of inputs to scores and has no graph.

    Args:
        function: (batch, ...) float32 on the CPU -> (batch, outputs).
        reason: why there is no graph, in words.
        batch: the only batch size that the function takes; None if it takes any.
        last: what the outputs come from, as of an operator; "" if that is not known.
    """

    def __init__(
        self, function: Callable[[torch.Tensor], torch.Tensor], reason: str, batch: int | None = None, last: str = ""
    ) -> None:
        super().__init__()
        self.last = last
        self.function = function
        self.reason = reason
        self.batch = batch

    def rest(self) -> None:
        """End what the function keeps running until the next call, if it does."""
        rest = getattr(self.function, "rest", None)
        if rest is not None:
            rest()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores; where the function takes one batch size only, inputs are cut and padded to it."""
        if self.batch is None or len(x) == self.batch:
            return self.function(x)
        parts = []
        for part in x.split(self.batch):
            padded = torch.cat([part, part[:1].expand(self.batch - len(part), *part.shape[1:])])
            parts.append(self.function(padded)[: len(part)])
        return torch.cat(parts)


def opaque(source: object) -> Opaque:
    """Return a callable, or an estimator with predict_proba, as a black box.

    Args:
        source: callable(batch (batch, ...) float32 tensor) -> scores (batch, outputs), tensor or array; or an estimator
            in the manner of scikit-learn, which is given rows (batch, features).

    Raises:
        UsageError: it is neither.
    """
    predict = getattr(source, "predict_proba", None)
    name = type(source).__name__
    if callable(predict):
        reason = f"{name} has predict_proba and no graph"
        return Opaque(lambda x: _shares(predict(x.flatten(1).numpy()), name), reason, last="predict_proba")
    if callable(source):
        return Opaque(lambda x: _tensor(source(x)), "it is a function, of which only the outputs are seen")
    raise UsageError(
        "expected a module, a file, a name, a callable(batch) -> scores or an estimator with predict_proba, "
        f"received {name}"
    )


def _shares(scores: Any, name: str) -> Any:
    """Return what predict_proba gives as a tensor; an estimator of several answers gives a list of tables."""
    if isinstance(scores, list) and len(scores) and np.ndim(scores[0]) > 1:
        raise UsageError(
            f"predict_proba of {name} returns {len(scores)} tables, one for each of its answers; expected one: give "
            "one of its estimators (such as estimators_[0]), or a callable(batch) -> scores"
        )
    return _tensor(scores)


def _tensor(scores: Any) -> Any:
    """Return scores as a float32 tensor, if they can be one."""
    return torch.as_tensor(np.asarray(scores, dtype=np.float32)) if isinstance(scores, np.ndarray | list) else scores
