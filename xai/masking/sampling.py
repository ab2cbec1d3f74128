"""Random masks in pairs and by rounds: no more of them than a ranking needs.

A pair is a mask and its opposite, which shows what the other covers: what parts do together is then the same in both
and cancels (Covert & Lee 2021, Improving KernelSHAP). Balanced masks show every two parts together as often as apart,
so that one part's share does not leak into another's. Masks fall into groups; drawing the groups again, with
replacement, says how far the ranking of the parts is a matter of chance (Efron 1979, Bootstrap methods). Groups of
balanced masks are not balanced: of these, what a linear model leaves of the outputs is drawn again, and not the rest.
Of parts that hardly differ the intervals of the ranks are too narrow, as bootstrapped ranks are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

DRAWS = 200  # of the groups
GROUPS = 20
CONFIDENCE = 0.95
WIDER = 1.096  # than what is drawn again: Student's quantile over the normal one for so few groups, Bessel's factor
ROUND = 100  # masks between two looks at the ranking
INTERVAL = "stop once the ranks' 95 % intervals are this narrow on average, as a share of the parts; default never"
RANKS = "mean width of the 95 % intervals of the ranks, as a share of the parts: 0 certain, near 1 chance"

Draw = Callable[[int, bool], torch.Tensor]
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Samples:
    """Masks and what the model says to them.

    Args:
        masks: (samples, ...) what is shown.
        outputs: (samples, classes).
        sources: (samples,) the number of the generator that drew each.
    """

    masks: torch.Tensor
    outputs: torch.Tensor
    sources: np.ndarray

    @property
    def groups(self) -> list[np.ndarray]:
        """The rows of each group; the two of a pair are in one."""
        return groups_of(len(self.masks))


def gathered(parts: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """Return parts (some, ...) of `count` rows as one tensor, made beforehand.

    Small tensors that stay, made between large ones that go, would scatter the heap by a picture a sample.
    """
    whole, done = torch.empty(0), 0
    for part in parts:
        if not done:
            whole = part.new_empty(count, *part.shape[1:])
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def groups_of(samples: int) -> list[np.ndarray]:
    """Return the rows of each group of samples; the two of a pair are in one."""
    group = np.arange(samples) // 2 % GROUPS
    return [np.flatnonzero(group == number) for number in range(min(GROUPS, samples // 2))]


def widened(residuals: np.ndarray, effective: float, numbers: int) -> np.ndarray | None:
    """Return what linear models leave (samples, ...), as large as it is where they were not fitted.

    None where twice as many samples as numbers would be needed to say.

    Args:
        residuals: of the samples that they were fitted to.
        effective: how many of them count.
        numbers: that were fitted.
    """
    return residuals * (effective / (effective - numbers)) ** 0.5 if effective >= 2 * numbers else None


class Fair:
    """Masks that show each part with probability one half.

    Args:
        parts: of a mask.
        generator: draws them.
    """

    def __init__(self, parts: int, generator: torch.Generator) -> None:
        self._parts, self._generator = parts, generator

    def __call__(self, count: int) -> torch.Tensor:
        """Return the next masks (count, parts) bool."""
        return torch.randint(2, (count, self._parts), generator=self._generator, dtype=torch.uint8).bool()


class Balanced(Fair):
    """The same in pairs of opposites that are balanced: of whole blocks, every two parts are uncorrelated.

    A block is a Hadamard matrix and its opposite (Plackett & Burman 1946, The design of optimum multifactorial
    experiments), its rows in random order; each part is a random column with a random sign.
    """

    def __init__(self, parts: int, generator: torch.Generator) -> None:
        super().__init__(parts, generator)
        self._order = 1 << (parts - 1).bit_length()
        self._rows = torch.empty(0, dtype=torch.int64)  # of the block that are left

    def __call__(self, count: int) -> torch.Tensor:
        """Return the next masks (count, parts) bool; every second one is the opposite of the one before."""
        missing, found = -(-count // 2), [torch.empty(0, self._parts, dtype=torch.bool)]
        while missing > 0:
            if not len(self._rows):
                self._begin()
            taken, self._rows = self._rows[:missing], self._rows[missing:]
            found.append(_is_odd(taken[:, None] & self._columns) ^ self._signs)
            missing -= len(taken)
        return with_opposites(torch.cat(found))[:count]

    def _begin(self) -> None:
        self._rows, columns = (torch.randperm(self._order, generator=self._generator) for _ in range(2))
        self._columns = columns[: self._parts]
        self._signs = super().__call__(1)


def _is_odd(numbers: torch.Tensor) -> torch.Tensor:
    """Say whether numbers below 2^16 have an odd number of ones: of row & column, Sylvester's Hadamard matrix."""
    for bits in (8, 4, 2, 1):
        numbers = numbers ^ (numbers >> bits)
    return (numbers & 1).bool()


def with_opposites(masks: torch.Tensor) -> torch.Tensor:
    """Return masks (samples, parts) bool, each followed by its opposite."""
    return torch.stack([masks, ~masks], 1).flatten(0, 1)


def sampled(
    draws: Sequence[Draw],
    outputs: Callable[[torch.Tensor, Tell], torch.Tensor],
    most: int,
    is_sure: Callable[[Samples], bool] | None,
    tell: Callable[[int, int], None],
) -> Samples:
    """Draw masks until a ranking is sure, or there are as many as allowed.

    Args:
        draws: give masks, of a number, and whether it is the first round; they share each round.
        outputs: of masks; is told how many are done.
        most: how many are drawn at most.
        is_sure: says whether these are enough, after every round; None for all in one round.
        tell: is told how many are done, of how many.
    """
    size = ROUND if is_sure else most
    found: list[Samples] = []
    for done in range(0, most, size):
        masks, sources = _round(draws, min(size, most - done), first=not done)
        found.append(Samples(masks, outputs(masks, _after(done, most, tell)), sources))
        so_far = _joined(found)
        if is_sure and is_sure(so_far):
            break
    tell(most, most)
    return so_far


def _after(done: int, most: int, tell: Callable[[int, int], None]) -> Tell:
    return lambda more: tell(done + more, most)


def _round(draws: Sequence[Draw], size: int, *, first: bool) -> tuple[torch.Tensor, np.ndarray]:
    share = size // len(draws) // 2 * 2
    sizes = [*[share] * (len(draws) - 1), size - share * (len(draws) - 1)]
    masks = [draw(count, first and not number) for number, (draw, count) in enumerate(zip(draws, sizes, strict=True))]
    return torch.cat(masks), np.repeat(np.arange(len(draws)), sizes)


def _joined(found: Sequence[Samples]) -> Samples:
    if len(found) == 1:
        return found[0]
    masks, outputs = torch.cat([one.masks for one in found]), torch.cat([one.outputs for one in found])
    return Samples(masks, outputs, np.concatenate([one.sources for one in found]))


def unsure(method: str, wanted: float | None, width: float | None, samples: int) -> tuple[str, ...]:
    """Return what is to be said where a ranking did not become as sure as was wanted.

    Args:
        method: whose samples they are.
        wanted: the interval, None if none was.
        width: of the intervals, None where it cannot be told.
        samples: that were drawn.
    """
    if wanted is None or (width is not None and width <= wanted):
        return ()
    reached = "how sure it is cannot be told" if width is None else f"its interval is {width:.2g} and not {wanted:g}"
    return (f"After {samples} samples the ranking is not as sure as asked: {reached}; raise {method}.samples.",)


def rank_interval(estimate: Callable[[np.ndarray], np.ndarray], groups: int) -> float | None:
    """Return how wide the 95 % intervals of the parts' ranks are, on average, as a share of the number of parts.

    None where there are too few groups to draw from, or one part.

    Args:
        estimate: gives a number for each part, (parts,), of how often each group counts (groups,).
        groups: how many there are.
    """
    if groups < GROUPS:
        return None
    drawn = 1 + WIDER * (np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS) - 1)
    ranks = np.stack([np.argsort(np.argsort(estimate(counts))) for counts in drawn])
    if ranks.shape[1] < 2:
        return None
    low, high = np.quantile(ranks, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return float((high - low).mean() / (ranks.shape[1] - 1))
