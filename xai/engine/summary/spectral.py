"""Spectral relevance analysis: groups of maps that are alike (Lapuschkin et al. 2019, SpRAy)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

LEAST = 8  # maps below which nothing is grouped
MOST = 8  # groups
NEIGHBOURS = 10
SEED = 0


@dataclass(frozen=True)
class Grouped:
    """Maps in groups.

    Args:
        groups: (n,) of each map; 0 is the largest group.
        eigenvalues: the smallest of the graph's Laplacian, rising; the first large gap tells how many groups there are.
    """

    groups: np.ndarray
    eigenvalues: np.ndarray

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1


def grouped(maps: np.ndarray) -> Grouped:
    """Return groups of maps (n, rows, columns) that are not negative.

    A map is compared by the angle; each is joined with its nearest ones; the groups are those into which the graph
    falls apart at least cost, as many as come before the largest gap of the normalised Laplacian's eigenvalues
    (von Luxburg 2007; the vectors are grouped as by Ng et al. 2002).
    """
    if len(maps) < LEAST:
        return Grouped(np.zeros(len(maps), dtype=np.int64), np.zeros(0))
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import laplacian
    from sklearn.neighbors import kneighbors_graph

    rows = maps.reshape(len(maps), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-30)
    near = kneighbors_graph(rows, max(2, min(NEIGHBOURS, len(maps) // 4)))
    costs: np.ndarray = np.asarray(laplacian(0.5 * (near + near.T).toarray(), normed=True))
    values, vectors = eigh(costs, subset_by_index=[0, min(MOST, len(maps) - 1)])
    count = int(np.diff(values).argmax()) + 1
    return Grouped(_by_size(_split(vectors[:, :count])), values)


def _split(vectors: np.ndarray) -> np.ndarray:
    """Return the group of each row (n, count) of eigenvectors."""
    from sklearn.cluster import KMeans

    count = vectors.shape[1]
    if count == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # maps that are all the same make fewer groups than the gap says
        found: np.ndarray = KMeans(count, n_init=10, random_state=SEED).fit_predict(rows)
    return found


def _by_size(groups: np.ndarray) -> np.ndarray:
    """Return groups numbered by their size, the largest first; of equal ones the one that comes first."""
    names, firsts, sizes = np.unique(groups, return_index=True, return_counts=True)
    order = np.lexsort((firsts, -sizes))
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    return ranks[np.searchsorted(names, groups)]
