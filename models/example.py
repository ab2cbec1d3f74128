"""What an example tells of a live network's input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from xai.errors import UsageError
from xai.models.export import evaluating

Example: TypeAlias = torch.Tensor | np.ndarray


def example_input(example: Example, network: nn.Module, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an input that an example has.

    Args:
        example: one input or a batch of them, in input units.
        network: that takes it.
        declared: fields that the user gave.

    Raises:
        UsageError: the network takes it neither as a batch nor as one input, or its values ask for a declared range.
    """
    try:
        tensor = torch.as_tensor(example).detach().to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the example is a {type(example).__name__}; expected a tensor or an array, one input or a batch"
        ) from error
    if not tensor.numel():
        raise UsageError(f"the example of shape {tuple(tensor.shape)} is empty")
    shape = _shape(tensor, network)
    low, high = float(tensor.min()), float(tensor.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError("the example holds NaN or infinite values")
    if len(shape) == 3 and "range" not in declared and (low < 0 or high > 1):
        raise UsageError(
            f"the example holds values in [{low:.4g}, {high:.4g}] and pixels lie in [0, 1]: give pixels with mean=... "
            "and std=..., or declare range=(low, high), or range=None for no limit"
        )
    return {"shape": shape}


def _shape(tensor: torch.Tensor, network: nn.Module) -> tuple[int, ...]:
    """Return the shape of one input: the network is called with the tensor as a batch, then as one input."""
    reason = "it has no dimension"
    own = next(network.parameters(), torch.empty(0))
    for batch in (tensor, tensor[None]):
        if batch.ndim < 2:
            continue
        try:
            with torch.no_grad(), torch.random.fork_rng(), evaluating(network):
                outputs = network(batch.to(own.device, own.dtype if own.is_floating_point() else torch.float32))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
        else:
            if isinstance(outputs, torch.Tensor) and outputs.ndim == 2 and len(outputs) == len(batch):
                return tuple(batch.shape[1:])
            reason = (
                f"it returns {tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__}"
            )
    raise UsageError(
        f"the network does not take the example of shape {tuple(tensor.shape)}, as a batch or as one input: {reason}"
    )
