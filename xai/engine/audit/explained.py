"""Images that an audit looks at closely: some that are right, wrong, least sure, and easiest to attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.examined import again
from xai.errors import XaiError
from xai.reports.policy.fields import Explanations

Row = Mapping[str, Any]


def chosen(rows: Iterable[Row], attacked: Iterable[Row], asked: Explanations) -> dict[str, list[str]]:
    """Return why images are looked at, by id: the first right ones, the surest wrong ones, and so on.

    Args:
        rows: of the answers; those that are not finite are not looked at.
        attacked: rows of an attack, with the smallest change that was found.
        asked: how many of each.
    """
    held = [row for row in rows if row["finite"]]
    fell = [row for row in attacked if row.get("confirmed") and row["distance"] is not None]
    kinds: list[tuple[str, int, Sequence[Row]]] = [
        ("right", asked.right, [row for row in held if row["right"]]),
        ("wrong", asked.wrong, _sorted(held, lambda row: -row["probability"], lambda row: not row["right"])),
        ("least sure", asked.least_sure, _sorted(held, lambda row: row["probability"])),
        ("most easily attacked", asked.most_attacked, _sorted(fell, lambda row: row["distance"])),
    ]
    found: dict[str, list[str]] = {}
    for why, count, some in kinds:
        for row in some[:count]:
            found.setdefault(row["id"], []).append(why)
    return found


def _sorted(
    rows: Sequence[Row], order: Callable[[Row], float], fits: Callable[[Row], bool] = lambda _: True
) -> list[Row]:
    return sorted((row for row in rows if fits(row)), key=order)


def read_again(data: DataSet, rows: Iterable[Row], names: Mapping[str, Any]) -> tuple[list[Sample], list[str]]:
    """Return the images of some names, and why some could not be read again."""
    samples, lost = [], []
    for row in rows:
        if row["id"] in names:
            try:
                samples.append(again(data, range(len(data)), row))
            except XaiError as error:
                lost.append(str(error))
    return samples, lost
