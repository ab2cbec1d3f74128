"""Windows: where they lie, how large they are, and the hills within."""

from __future__ import annotations

import pytest
import torch

from xai.robustness.windows import corner, covered, either_way, hills, picture, placed, square


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((3, 8, 9), (3, 8, 9)), ((7,), (1, 1, 7)), ((2, 5), (1, 2, 5)), ((2, 3, 4, 5), (6, 4, 5))],
)
def test_any_input_is_laid_out_as_a_picture(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> None:
    assert picture(torch.Size(shape)) == wanted


def test_squares_cover_the_share_that_they_should() -> None:
    assert square(0.8, 28, 28, centred=False) == (25, 25)
    assert square(0.05, 32, 32, centred=False) == (7, 7)
    assert square(0.0001, 32, 32, centred=False) == (1, 1)
    assert square(0.8, 32, 32, centred=True) == (29, 29)
    assert square(0.0001, 32, 32, centred=True) == (3, 3)
    assert square(1.0, 4, 4, centred=True) == (4, 4)
    # a run of a single row, and the sides of a flat picture
    assert square(0.8, 1, 50, centred=False) == (1, 40)
    assert square(0.25, 2, 32, centred=False) == (2, 8)
    assert square(0.25, 32, 2, centred=False) == (8, 2)


def plain_hills(height: int, width: int, order: int, steepness: int) -> list[list[float]]:
    """Return the sum over j from a number's ring outwards, one number at a time; down in the second half."""

    def hill(rows: int) -> list[list[float]]:
        outermost = max(rows, width) // 2
        values = [
            [
                sum((j + 1.0) ** -steepness for j in range(max(abs(r - rows // 2), abs(c - width // 2)), outermost + 1))
                for c in range(width)
            ]
            for r in range(rows)
        ]
        total = sum(abs(value) ** order for row in values for value in row) ** (1 / order)
        return [[value / total for value in row] for row in values]

    both = hill(height // 2) + [[-value for value in row] for row in hill(height - height // 2)]
    total = sum(abs(value) ** order for row in both for value in row) ** (1 / order)
    return [[value / total for value in row] for row in both]


@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 5), (1, 1), (1, 4), (4, 1), (6, 9), (9, 6), (25, 25)])
@pytest.mark.parametrize(("order", "steepness"), [(2, 2), (1, 4)])
def test_hills_are_those_of_the_plain_formula(height: int, width: int, order: int, steepness: int) -> None:
    wanted = torch.tensor(plain_hills(height, width, order, steepness))
    assert torch.allclose(hills(height, width, order, steepness), wanted, atol=1e-6)


def test_hills_lie_either_way_and_where_they_are_placed() -> None:
    ways = either_way(((3, 3), (2, 5)), 2, 2)
    assert torch.equal(ways[0, 1, :3, :3], ways[0, 0, :3, :3].T)
    assert torch.equal(ways[1, 1, :2, :5], hills(5, 2, 2, 2).T)
    start = torch.tensor([[1, 2], [4, 0]])
    found = placed(ways[[0, 1], [0, 1]], start, 6, 7)
    assert torch.equal(found[0, 0, 1:4, 2:5], hills(3, 3, 2, 2))
    assert torch.equal(found[1, 0, 4:6, 0:5], hills(5, 2, 2, 2).T)


def test_windows_lie_within_the_picture_and_reach_every_edge_alike() -> None:
    size = torch.tensor([[3, 2], [1, 7]]).repeat(4000, 1)
    start = corner(size, 5, 7, torch.Generator().manual_seed(0))
    inside = covered(start, size, 5, 7)
    assert torch.equal(inside.flatten(1).sum(1), size.prod(1))
    assert start[::2, 0].bincount().tolist() == pytest.approx([4000 / 3] * 3, rel=0.1)
    assert start[::2, 1].bincount().tolist() == pytest.approx([4000 / 6] * 6, rel=0.15)
    assert start[1::2, 1].max() == 0
    one = covered(torch.tensor([[1, 4]]), torch.tensor([[3, 2]]), 5, 7)
    assert one[0, 0, 1:4, 4:6].all()
