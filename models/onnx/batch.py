"""What was baked for one batch size, made right for any other: shapes and places that a file writes as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def freed_shape(before: Sequence[int], now: Sequence[Any], wanted: Sequence[int], batch: int) -> list[Any]:
    """Return the shape that a reshape wants when sizes of its input are others than those it was written for.

    Axes are matched as a reshape matches them: runs of input axes and runs of output axes with equal products. The size
    that changed goes to the axis of its run that has the size of the batch, else to the first.

    Args:
        before: sizes of the input for the batch that the file was written for.
        now: sizes of the input as it comes.
        wanted: sizes as they are written, for the input `before`; one may be -1.
        batch: the size that the file was written for.
    """
    rest = math.prod(size for size in wanted if size != -1)
    new = [math.prod(before) // max(rest, 1) if size == -1 else size for size in wanted]
    if math.prod(new) != math.prod(before):
        return list(wanted)
    found: list[Any] = list(new)
    for inputs, outputs in _runs(before, new, leftwards=len(new) < len(before)):
        changed = [axis for axis in inputs if now[axis] is not before[axis] and now[axis] != before[axis]]
        if changed and outputs:
            axis = changed[0]
            own = next((place for place in outputs if new[place] == batch), outputs[0])
            found[own] = now[axis] * new[own] // before[axis]
    return found


def freed_gather(x: torch.Tensor, places: np.ndarray, before: Sequence[int]) -> torch.Tensor:
    """Return the entries of a flattened batch at places that were written for one input, for each input.

    Args:
        x: (batch x numbers,) of all inputs in a row.
        places: (1, ...) indices into the numbers of one input.
        before: [numbers].
    """
    indices = torch.as_tensor(places.reshape(-1).astype(np.int64), device=x.device)
    return x.reshape(-1, before[0]).index_select(1, indices).reshape(-1, *places.shape[1:])


def _runs(before: Sequence[int], new: Sequence[int], leftwards: bool) -> list[tuple[list[int], list[int]]]:
    """Return runs of input axes with runs of output axes of the same product.

    An input axis of size one between two runs joins the left one if there are fewer axes than before: then axes are
    being merged.
    """
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(new):
        inputs, outputs = [i] if i < len(before) else [], [j] if j < len(new) else []
        i, j = i + len(inputs), j + len(outputs)
        while (left := math.prod(before[k] for k in inputs)) != (right := math.prod(new[k] for k in outputs)):
            if left < right and i < len(before):
                inputs, i = [*inputs, i], i + 1
            elif right < left and j < len(new):
                outputs, j = [*outputs, j], j + 1
            else:
                return []
        while leftwards and i < len(before) and before[i] == 1 and (j >= len(new) or new[j] != 1):
            inputs, i = [*inputs, i], i + 1
        while j < len(new) and new[j] == 1 and not (i < len(before) and before[i] == 1):
            outputs, j = [*outputs, j], j + 1
        runs.append((inputs, outputs))
    return runs
