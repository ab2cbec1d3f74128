"""Labels: names are names, digits are indices only where no class is called so."""

from __future__ import annotations

import numpy as np
import pytest

from xai.data.labels import NONE, as_labels, class_indices, resolved
from xai.errors import UsageError

PETS = ("cat", "dog", "cow")
FROM_ONE = tuple(str(number) for number in range(1, 11))


def test_names_and_indices_are_told_apart() -> None:
    assert class_indices(["dog", "0", 2, None], PETS) == {"dog": 1, "0": 0, 2: 2, None: NONE}
    assert class_indices(["00002"], PETS) == {"00002": 2}


def test_digits_are_names_where_any_of_them_is_one() -> None:
    assert class_indices(["1", "10"], FROM_ONE) == {"1": 0, "10": 9}
    with pytest.raises(UsageError, match="there is no class '0'"):  # as an index it would share class "1" with "1"
        class_indices(["0", "1"], FROM_ONE)
    assert class_indices([0, 9], FROM_ONE) == {0: 0, 9: 9}  # numbers are no names


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("dgo", "there is no class 'dgo'; did you mean 'dog'"),
        ("Cat", "did you mean 'cat'"),
        ("1_0", "there is no class '1_0'"),
        ("\u0661", "there is no class"),
        ("-1", "there is no class '-1'"),
        ("1.0", "there is no class '1.0'"),
        ("3", "there is no class 3; the model has 3, from 0 to 2"),
        (-1, "there is no class -1"),
    ],
)
def test_wrong_labels_are_told(label: str | int, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        class_indices([label], PETS)


def test_a_name_that_two_classes_share_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="several classes named 'crane'; say which by its index: 0, 2"):
        class_indices(["crane"], ("crane", "dog", "crane"))
    assert class_indices([2], ("crane", "dog", "crane")) == {2: 2}


def test_arrays_and_lists_resolve_alike() -> None:
    draw = np.random.default_rng(0).integers(0, 3, 50)
    for labels in (
        draw,
        draw.tolist(),
        [PETS[index] for index in draw],
        np.array(PETS)[draw],
        as_labels(draw[:, None] * 1.0),
    ):
        found = resolved(labels, PETS)
        assert found.dtype == np.int32
        assert np.array_equal(found, draw)


@pytest.mark.parametrize(
    "labels", [np.zeros((3, 10)), np.array([0.5]), np.array([np.nan]), np.array([True]), np.array([b"a"])]
)
def test_arrays_that_hold_no_labels_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"expected (labels|whole numbers)"):
        as_labels(labels)
