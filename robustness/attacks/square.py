"""Square: random search that changes one square of the picture at a time and keeps what helps."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import SMALLEST, Norm, each, size
from xai.robustness.windows import corner, covered, either_way, picture, placed, square

SHRINKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # after so many queries of 10 000 squares cover half as much
ORDER = {Norm.L2: 2, Norm.L1: 1}
STEEPNESS = {Norm.L2: 2, Norm.L1: 4}
TILES = 5  # along the shorter side of the first point, for l2 and l1


class Square(Attack):
    """Andriushchenko et al. 2020; for l1 Croce and Hein 2021.

    Rows and columns are the last two axes of an input, those before are channels; an input without rows, such as a
    record of numbers, is one row, and a square of it a run of neighbours that covers the same share.

    Remembered of each attempt: the best point (`best`) and its loss (`best_loss`).
    """

    about = Method(
        name="square",
        title="Square",
        summary="Random squares of the picture are changed as far as the region allows, and kept where the right "
        "class loses: it sees scores only, so nothing that hides gradients stops it.",
        limits="On a model with honest gradients it is weaker than the gradient attacks; where it is not, their "
        "gradients mislead. Neighbours in a record of numbers mean nothing to it.",
        source="Andriushchenko, Croce, Flammarion, Hein 2020, Square Attack: a query-efficient black-box adversarial "
        "attack via random search; l1: Croce, Hein 2021, Mind the box: l1-APGD for sparse adversarial attacks",
        kind=Kind.HEURISTIC,
        sets={"standard": 4},
    )
    norms = frozenset(Norm)

    queries: int = Field(default=5000, ge=1, le=10_000_000, description="Points of an attempt that the model sees.")
    restarts: int = Field(default=1, ge=1, le=10_000, description="Attempts, each from another random point.")
    p_init: float = Field(default=0.8, gt=0, le=1, description="Share of the picture that the first squares cover.")
    rescaled: bool = Field(
        default=False, description="Whether the squares' schedule, published for 10 000 queries, is scaled to these."
    )

    @property
    def looks(self) -> int:
        """Each query is one."""
        return self.queries

    @property
    def tries(self) -> int:
        """Each restart is a try."""
        return self.restarts

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at stripes, for linf, or at hills all over the picture."""
        lanes.x = (_stripes if scene.region.norm is Norm.LINF else _tiles)(lanes.origin, scene)
        lanes.own["best"] = lanes.x
        lanes.own["best_loss"] = torch.full_like(lanes.clean[:, 0], -torch.inf)

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Keep what was better, and change another square of the best."""
        own = lanes.own
        better = seen.loss > own["best_loss"]
        own["best_loss"] = torch.where(better, seen.loss, own["best_loss"])
        own["best"] = torch.where(each(better, lanes.x).bool(), lanes.x, own["best"])
        level = self._level(lanes.step - 1)
        change = _recolour if scene.region.norm is Norm.LINF else _move_mass
        lanes.x = change(lanes.origin, own["best"], self._sizes(lanes.x.shape[1:], scene), level, scene)

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """The margin; the cross-entropy of a wanted class, to be lowered."""
        return -cross_entropy(scores, lanes.wanted) if targeted else super().loss(scores, lanes, targeted)

    def _level(self, changes: torch.Tensor) -> torch.Tensor:
        """Return how often squares were halved after so many changes (n,)."""
        scaled = changes * 10_000 // self.queries if self.rescaled else changes
        return (scaled[:, None] > torch.tensor(SHRINKS, device=changes.device)).sum(1)

    def _sizes(self, shape: torch.Size, scene: Scene) -> tuple[tuple[int, int], ...]:
        """Return (height, width) of the squares of each level."""
        _, rows, columns = picture(shape)
        centred = scene.region.norm is not Norm.LINF
        shares = (self.p_init / 2**level for level in range(len(SHRINKS) + 1))
        return tuple(square(share, rows, columns, centred=centred) for share in shares)


def _signs(*shape: int, scene: Scene, like: torch.Tensor) -> torch.Tensor:
    """Return random numbers -1 and 1."""
    drawn = torch.rand(shape, device=like.device, dtype=like.dtype, generator=scene.generator)
    return torch.where(drawn < 0.5, -1.0, 1.0).to(like.dtype)


def _stripes(x: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return points (n, ...) as far from x as the region goes, up or down the same in each column of a channel."""
    channels, rows, columns = picture(x.shape[1:])
    signs = _signs(len(x), channels, 1, columns, scene=scene, like=x).expand(-1, -1, rows, -1)
    return scene.region.project(x, x + scene.region.epsilon * signs.reshape(x.shape))


def _recolour(
    x: torch.Tensor, best: torch.Tensor, sizes: tuple[tuple[int, int], ...], level: torch.Tensor, scene: Scene
) -> torch.Tensor:
    """Return best (n, ...) with one square of each channel as far up or down from x as the region goes."""
    channels, rows, columns = picture(x.shape[1:])
    size_of = torch.tensor(sizes, device=x.device)[level]
    inside = covered(corner(size_of, rows, columns, scene.generator), size_of, rows, columns)
    signs = _signs(len(x), channels, 1, 1, scene=scene, like=x)
    moved = x + scene.region.epsilon * signs.expand(-1, -1, rows, columns).reshape(x.shape)
    return scene.region.project(x, torch.where(inside.expand(-1, channels, -1, -1).reshape(x.shape), moved, best))


def _tiles(x: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return points (n, ...) that differ from x by hills all over the picture."""
    channels, rows, columns = picture(x.shape[1:])
    norm = scene.region.norm
    side = max(min(rows, columns) // TILES, 1)
    down, across = rows // side, columns // side
    ways = either_way(((side, side),), ORDER[norm], STEEPNESS[norm])[0].to(x)
    way = _signs(len(x), down, across, scene=scene, like=x) > 0
    tiles = ways[way.long()].permute(0, 1, 3, 2, 4).reshape(len(x), 1, down * side, across * side)
    signs = _signs(len(x), channels, down, across, scene=scene, like=x)
    signs = signs.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    top, left = (rows - down * side) // 2, (columns - across * side) // 2
    delta = x.new_zeros(len(x), channels, rows, columns)
    delta[:, :, top : top + down * side, left : left + across * side] = tiles * signs
    return _at_the_edge(x, delta.reshape(x.shape), scene)


def _move_mass(
    x: torch.Tensor, best: torch.Tensor, sizes: tuple[tuple[int, int], ...], level: torch.Tensor, scene: Scene
) -> torch.Tensor:
    """Return best (n, ...) with a hill added in one square, paid by what another square and the region have left."""
    channels, rows, columns = picture(x.shape[1:])
    norm, generator = scene.region.norm, scene.generator
    order = ORDER[norm]
    delta = (best - x).reshape(-1, channels, rows, columns)
    size_of = torch.tensor(sizes, device=x.device)[level]
    here = corner(size_of, rows, columns, generator)
    gains = covered(here, size_of, rows, columns)
    loses = covered(corner(size_of, rows, columns, generator), size_of, rows, columns)
    way = (_signs(len(x), scene=scene, like=x) > 0).long()
    hill = placed(either_way(sizes, order, STEEPNESS[norm]).to(x)[level, way], here, rows, columns)

    def mass(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Return the norm of the numbers there, of each channel."""
        return (values * where).abs().pow(order).sum((2, 3), keepdim=True).pow(1 / order).clamp(min=SMALLEST)

    shape = hill * _signs(len(x), channels, 1, 1, scene=scene, like=x) + delta / mass(delta, gains)
    left = (scene.region.epsilon**order - each(size(delta, norm), delta) ** order).clamp(min=0) / channels
    height = (left + mass(delta, gains | loses) ** order) ** (1 / order)
    height = height * channels if norm is Norm.L1 else height  # the projection that follows takes from all of them
    moved = torch.where(gains, height * shape / mass(shape, gains), torch.where(loses, 0.0, delta))
    return _at_the_edge(x, moved.reshape(x.shape), scene)


def _at_the_edge(x: torch.Tensor, delta: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return x plus delta (n, ...), stretched to the region's size for l2, within the region."""
    if scene.region.norm is Norm.L2:
        delta = delta * each(scene.region.epsilon / size(delta, Norm.L2).clamp(min=SMALLEST), delta)
    return scene.region.project(x, x + delta)
