"""Parts of a region that are still to be decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from xai.robustness.bounds.analysis import Kept
from xai.robustness.bounds.interval import Interval

Tensors = Mapping[int, torch.Tensor]


@dataclass(frozen=True)
class Split:
    """A number that was cut in two.

    Args:
        step: whose value it belongs to; 0 is the input.
        number: its place in that value, in one row.
        at: the threshold.
        side: 1 where it is at least that, -1 where it is at most that.
    """

    step: int
    number: int
    at: float
    side: int


@dataclass(frozen=True, eq=False)
class Root:
    """What the proofs of a region's parts share: with which slopes the boxes of the whole were met.

    Args:
        kept: slopes of rows whose bounds were raised; other bounds need none but those of the smaller area.
        open: by step, which numbers (1, ...) have a free slope.
    """

    kept: tuple[Kept, ...] = ()
    open: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class Domain:
    """A part of the region.

    Args:
        splits: that make it, from the whole.
        bound: by how much the best row is known to be above its limit; the part is decided above 0.
        state: what the search goes on from: tensors of this part alone.
        next: the splits that promise most, the best first, each with the side that is at least its threshold.
    """

    splits: tuple[Split, ...] = ()
    bound: float = -float("inf")
    state: Mapping[str, Tensors] = field(default_factory=dict)
    next: tuple[Split, ...] = ()

    def halves(self, split: Split) -> tuple[Domain, Domain]:
        """Return both sides of a split."""
        sides = (Split(split.step, split.number, split.at, side) for side in (1, -1))
        one, other = (Domain((*self.splits, side), self.bound, self.state) for side in sides)
        return one, other


def stacked(domains: Sequence[Domain], name: str) -> dict[int, torch.Tensor]:
    """Return what all domains hold under a name, (domains, ...) each; what some of them do not hold is left out."""
    keys = set.intersection(*(set(domain.state.get(name, {})) for domain in domains))
    return {key: torch.stack([domain.state[name][key] for domain in domains]) for key in sorted(keys)}


def filled(domains: Sequence[Domain], name: str, blank: Tensors) -> dict[int, torch.Tensor]:
    """Return what domains hold under a name where they do, and elsewhere the blank's part, (domains, ...) each."""
    return {
        key: torch.stack(
            [domain.state.get(name, {}).get(key, part) for domain, part in zip(domains, parts, strict=True)]
        )
        for key, parts in blank.items()
    }


def repeated(box: Interval, count: int) -> Interval:
    """Return so many copies (count, ...) of a box (1, ...)."""
    return Interval(*(end.expand(count, *end.shape[1:]) for end in (box.lower, box.upper)))


def box_of(whole: Interval, domains: Sequence[Domain], step: int) -> Interval:
    """Return a step's box (domains, ...) in each domain: the whole's (domains, ...), cut by the domain's splits."""
    ends = []
    for end, side, nearer in ((whole.lower, 1, "amax"), (whole.upper, -1, "amin")):
        size = end[0].numel()
        own = [
            (row * size + split.number, split.at)
            for row, domain in enumerate(domains)
            for split in domain.splits
            if split.step == step and split.side == side
        ]
        found = end.flatten().clone()
        if own:
            places, at = zip(*own, strict=True)
            values = torch.tensor(at, dtype=found.dtype, device=found.device)
            found.scatter_reduce_(0, torch.tensor(places, device=found.device), values, nearer)
        ends.append(found.reshape(len(domains), *end.shape[1:]))
    return Interval(*ends)
