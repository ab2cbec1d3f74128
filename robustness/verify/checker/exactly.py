"""A network's outputs at a point in exact arithmetic: they decide where bounds meet a limit but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy import sparse

from xai.robustness.verify.checker.network import Affine, Given, Largest, Matrix, Network, Rectified

MOST = 10**5  # products: exact ones take some microseconds each, and no clock is asked meanwhile


def exactly(network: Network, point: Sequence[float]) -> list[Fraction] | None:
    """Return the outputs of a network of exact numbers; None where a number of it is rounded, or it is too large.

    Args:
        network: as matrices.
        point: an input, flat.
    """
    sums = [value for value in network.values if isinstance(value, Affine)]
    if any(one.inexact for one in sums) or sum(_products(m) for one in sums for _, m in one.parts) > MOST:
        return None
    found: list[list[Fraction]] = []
    for value in network.values:
        if isinstance(value, Given):
            found.append([Fraction(number) for number in point])
        elif isinstance(value, Affine):
            found.append(_sum(value, found))
        elif isinstance(value, Rectified):
            slope = Fraction(value.slope)
            found.append([x if x > 0 else x * slope for x in found[value.source]])
        else:
            found.append(_largest(value, found[value.source]))
    return found[network.output]


def _products(matrix: Matrix) -> int:
    return int(matrix.size)  # of a sparse one, its entries


def _sum(value: Affine, found: Sequence[Sequence[Fraction]]) -> list[Fraction]:
    sums = [Fraction(number) for number in value.bias.tolist()]
    for source, matrix in value.parts:
        given = found[source]
        if matrix.ndim == 1:
            for place, factor in enumerate(matrix.tolist()):
                sums[place] += Fraction(factor) * given[place]
            continue
        entries = sparse.coo_array(matrix)
        for row, column, factor in zip(*map(np.ndarray.tolist, (*entries.coords, entries.data)), strict=True):
            if given[column]:
                sums[row] += Fraction(factor) * given[column]
    return sums


def _largest(value: Largest, given: Sequence[Fraction]) -> list[Fraction]:
    return [max(given[place] for place in window if place >= 0) for window in value.windows.tolist()]
