"""Deletion and insertion: does the output follow the map's own order of places, and better than that of controls?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import sobel

from xai.measures.base import Judgement, Measure, Subject
from xai.models.fill import FILLS, Fill, check_fill, fill_colour, numbers
from xai.models.model import Model
from xai.registry import Kind, Method
from xai.reports.records import Speaks, Value
from xai.runtime import Runtime

OUTPUT = "mean of the target's output over the steps"


def ranking(map_: np.ndarray, tie_break: np.ndarray) -> np.ndarray:
    """Return pixel numbers (height * width,), the highest of a map (height, width) first; ties in the order given."""
    return tie_break[np.argsort(-map_.ravel()[tie_break], kind="stable")]


def permuted(map_: np.ndarray, patches: int, rng: np.random.Generator) -> np.ndarray:
    """Return a map (height, width) whose patches, that many along each side, have changed places at random."""
    height, width = map_.shape
    size = (-(-height // patches), -(-width // patches))
    rows, columns = -(-height // size[0]), -(-width // size[1])
    padded = np.pad(map_, ((0, rows * size[0] - height), (0, columns * size[1] - width)), mode="edge")
    blocks = padded.reshape(rows, size[0], columns, size[1]).swapaxes(1, 2).reshape(-1, *size)
    mixed = blocks[rng.permutation(len(blocks))].reshape(rows, columns, *size)
    whole: np.ndarray = mixed.swapaxes(1, 2).reshape(padded.shape)
    return whole[:height, :width]


def edge_map(x: np.ndarray) -> np.ndarray:
    """Return how strong the edges of a picture (channels, height, width) are, (height, width): it knows no model."""
    grey = x.mean(axis=0)
    edges: np.ndarray = np.hypot(sobel(grey, axis=0, mode="nearest"), sobel(grey, axis=1, mode="nearest"))
    return edges


def centre_blob(height: int, width: int) -> np.ndarray:
    """Return a map (height, width) that falls off from the centre: it knows neither model nor picture."""
    rows, columns = np.mgrid[0:height, 0:width]
    vertical, horizontal = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
    blob: np.ndarray = np.exp(-8 * (vertical**2 + horizontal**2))
    return blob


def area(curve: np.ndarray) -> float:
    """Return the area under a curve of evenly spaced points, of width one."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


class Deletion(Measure):
    """Deletion and insertion (Petsiuk et al. 2018), against controls."""

    about = Method(
        name="deletion",
        title="Deletion and insertion",
        summary=(
            "Covers the picture's pixels in the map's order, the highest first, and uncovers them in that order; a map "
            "that says something makes the output fall, and rise, faster than controls that know nothing."
        ),
        limits=(
            "Half covered pictures are unlike any the model was trained on, so the curves depend on the fill, and "
            "smooth maps are favoured. The numbers are outputs of this target: two pictures cannot be compared by them."
        ),
        source="Petsiuk et al. 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models",
        kind=Kind.HEURISTIC,
        default=True,
    )

    steps: int = Field(default=10, ge=2, le=1000, description="parts of equal size in which the pixels are covered")
    fill: Fill = Field(default="image", description=f"what covers: {FILLS}")
    permutations: int = Field(default=3, ge=1, le=100, description="controls made of the map's own patches, permuted")
    patches: int = Field(default=8, ge=2, le=64, description="patches along each side of the picture")

    def check(self, model: Model) -> None:
        """Raise UsageError if the fill does not fit."""
        check_fill(self.fill, model.input, "deletion.fill")

    def judge(self, subject: Subject, runtime: Runtime) -> Judgement:
        """Draw both curves for the map and for every control."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        height, width = subject.map.shape
        order = rng.permutation(height * width)
        rankings = {"map": subject.map, **self._controls(subject, rng)}
        fill = fill_colour(self.fill, subject.x, subject.model.input)
        nothing = fill.expand_as(subject.x).contiguous()
        curves = {}
        for name, scores in rankings.items():
            places = torch.from_numpy(ranking(scores, order)).to(subject.x.device)
            deleted = self._curve(subject, subject.x, nothing, places, runtime)
            inserted = self._curve(subject, nothing, subject.x, places, runtime)
            curves[name] = np.stack([deleted, inserted])
        controls = {name: [area(curve) for curve in both] for name, both in curves.items()}
        own = controls.pop("map")
        others = list(controls.values())
        beaten = [sum(own[0] < other[0] for other in others), sum(own[1] > other[1] for other in others)]
        deleted, inserted = curves["map"]
        follows = [bool(own[0] < deleted[0]), bool(own[1] > inserted[0])]
        return Judgement(
            sentence=_sentence(beaten, follows, len(controls)),
            speaks=_speaks(beaten, follows, len(controls)),
            values={
                "deletion": Value(value=own[0], unit=f"{OUTPUT}; lower is better"),
                "insertion": Value(value=own[1], unit=f"{OUTPUT}; higher is better"),
                "whole picture": Value(value=float(deleted[0]), unit="target's output"),
                "covered picture": Value(value=float(inserted[0]), unit="target's output"),
                "controls beaten in deletion": Value(value=beaten[0], unit=f"of {len(controls)}"),
                "controls beaten in insertion": Value(value=beaten[1], unit=f"of {len(controls)}"),
                **{f"deletion, {name}": Value(value=both[0], unit=OUTPUT) for name, both in controls.items()},
                **{f"insertion, {name}": Value(value=both[1], unit=OUTPUT) for name, both in controls.items()},
            },
            chosen={"fill value": numbers(fill)},
            arrays={"curves": np.stack(list(curves.values()))},
        )

    def _controls(self, subject: Subject, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return maps that know nothing of what the model looks at."""
        mixed = {
            f"permuted {number}": permuted(subject.map, self.patches, rng) for number in range(1, self.permutations + 1)
        }
        return {**mixed, "edges": edge_map(subject.x.cpu().numpy()), "centre": centre_blob(*subject.map.shape)}

    def _curve(
        self, subject: Subject, first: torch.Tensor, last: torch.Tensor, places: torch.Tensor, runtime: Runtime
    ) -> np.ndarray:
        """Return the target's outputs (steps + 1,) while the pixels of one input turn into those of another."""
        batch = runtime.batch(subject.model.bytes_per_input)
        outputs = [subject.target(subject.model(x)) for x in self._mixtures(first, last, places, batch)]
        return torch.cat(outputs).double().cpu().numpy()

    def _mixtures(
        self, first: torch.Tensor, last: torch.Tensor, places: torch.Tensor, batch: int
    ) -> Iterator[torch.Tensor]:
        """Yield batches of inputs (batch, channels, height, width), from all first to all last."""
        ends = [round(len(places) * step / self.steps) for step in range(self.steps + 1)]
        for begin in range(0, len(ends), batch):
            mixed = first.repeat(len(ends[begin : begin + batch]), 1, 1, 1).flatten(2)
            for row, end in zip(mixed, ends[begin : begin + batch], strict=True):
                row[:, places[:end]] = last.flatten(1)[:, places[:end]]
            yield mixed.view(-1, *first.shape)


def _speaks(beaten: list[int], follows: list[bool], controls: int) -> Speaks:
    if min(beaten) == controls and all(follows):
        return "for"
    return "against" if max(beaten) <= controls / 2 or not any(follows) else "neither"


def _sentence(beaten: list[int], follows: list[bool], controls: int) -> str:
    """Say how the map did against its controls, and whether the output follows it at all."""
    lowers = (
        f"lowers the output faster than {beaten[0]} of {controls} maps that know nothing"
        if follows[0]
        else "does not lower the output"
    )
    raises = f"raises it faster than {beaten[1]} of {controls}" if follows[1] else "does not raise it"
    return f"Covering its highest places first {lowers}; uncovering them first {raises}."
