"""The nearest point of a hyperplane within a range of values: what a linear model's smallest change is."""

from __future__ import annotations

import torch

from xai.robustness.norms import SMALLEST, Norm


def to_plane(
    points: torch.Tensor, slope: torch.Tensor, rise: torch.Tensor, norm: Norm, low: float, high: float
) -> torch.Tensor:
    """Return the smallest change of each point by which a linear function rises as asked.

    Where the range does not allow so much, the change goes as far as the range reaches.

    Args:
        points: (n, ...) within the range.
        slope: (n, ...) of the function.
        rise: (n,) that is wanted; negative: to fall.
        norm: in which the change is smallest.
        low: of the range of values, or -inf.
        high: of the range of values, or inf.

    Returns:
        (n, ...) changes, in the points' dtype, computed in float64.
    """
    upward = slope.flatten(1).double() * torch.where(rise < 0, -1.0, 1.0).double()[:, None]
    gain, place = upward.abs(), points.flatten(1).double()
    room = torch.where(upward > 0, high - place, place - low).clamp(min=0)
    room = torch.where(gain > 0, room, torch.zeros_like(room))
    fill = _strongest_first if norm is Norm.L1 else _together
    change = upward.sign() * fill(gain, gain if norm is Norm.L2 else (gain > 0).double(), room, rise.abs().double())
    return change.to(points.dtype).reshape(points.shape)


def _together(gain: torch.Tensor, pace: torch.Tensor, room: torch.Tensor, rise: torch.Tensor) -> torch.Tensor:
    """Move all coordinates at their pace until their room is used: changes (n, numbers) of min(time x pace, room)."""
    full = torch.where(pace > 0, room / pace.clamp(min=SMALLEST), torch.zeros_like(room))  # time when room is used up
    full, order = full.sort(dim=1)
    gain_of, pace_of, room_of = gain.gather(1, order), pace.gather(1, order), room.gather(1, order)
    used = gain_of * room_of
    used = torch.where(room_of > 0, used, torch.zeros_like(used)).cumsum(1)
    moving = (gain_of * pace_of).flip(1).cumsum(1).flip(1)
    before = torch.cat((torch.zeros_like(used[:, :1]), used[:, :-1]), dim=1)
    reached = before + full * moving  # what all have gained when one more is full
    last = (reached < rise[:, None]).sum(1).clamp(max=full.shape[1] - 1)[:, None]
    rest = rise - before.gather(1, last)[:, 0]
    time = rest / moving.gather(1, last)[:, 0].clamp(min=SMALLEST)
    return torch.minimum(time[:, None] * pace, room)


def _strongest_first(gain: torch.Tensor, _: torch.Tensor, room: torch.Tensor, rise: torch.Tensor) -> torch.Tensor:
    """Use up the room of the coordinate that gains most, then of the next."""
    order = gain.argsort(dim=1, descending=True, stable=True)
    gain_of, room_of = gain.gather(1, order), room.gather(1, order)
    most = torch.where(room_of > 0, gain_of * room_of, torch.zeros_like(room_of))
    before = torch.cat((torch.zeros_like(most[:, :1]), most[:, :-1].cumsum(1)), dim=1)
    missing = (rise[:, None] - before).clamp(min=0)
    moved = torch.minimum(missing / gain_of.clamp(min=SMALLEST), room_of)
    return torch.zeros_like(gain).scatter(1, order, moved)
