"""Pictures of arrays: inputs, maps over inputs, colour bars. One scale for all maps of one method and unit in a run."""

from __future__ import annotations

import io
import math

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from xai.errors import UsageError
from xai.reports.evidence import Evidence, kind
from xai.reports.records import Finding, InputRecord

SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
OPACITY = 0.62
LOSSLESS_UP_TO = 128 * 128
TILE = 8
THUMBNAIL = 96
CHANNELS = 16  # of a layer, in a figure
BARS = ("lower", "upper", "climbed lowest", "climbed highest", "sampled lowest", "sampled highest")


class Drawn(Figure):
    """A figure that a notebook shows by itself, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()


def picture(prepared: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Return an input (channels, height, width) as bytes (height, width, 3); other than three channels: their mean."""
    low, high = value_range
    pixels = np.clip((prepared - low) / (high - low), 0, 1)
    if pixels.shape[0] != 3:
        pixels = np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
    return _bytes(pixels.transpose(1, 2, 0))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return a picture, bytes (height, width, 3), at most 96 pixels high and wide."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)


def is_signed(finding: Finding) -> bool:
    """Say whether a finding's map speaks for and against."""
    return "signed" in finding.values and finding.values["signed"].value is True


def is_blank(finding: Finding) -> bool:
    """Say whether a finding's map has one value everywhere."""
    return "blank" in finding.values and finding.values["blank"].value is True


def scale(run: Evidence, finding: Finding) -> tuple[float, float]:
    """Return lowest and highest value of the colours: common to all maps of the same method and unit."""
    lowest, highest, _ = run.extremes[kind(finding)]
    if is_signed(finding):
        far = max(abs(lowest), abs(highest))
        return -far, far
    return min(lowest, 0.0), highest


def gradient_scale(run: Evidence, finding: Finding) -> tuple[float, float]:
    """Return lowest and highest value of the colours of gradients: common to all findings of the same layer."""
    same = [other for other in run.findings if other.status == "ok" and kind(other) == kind(finding)]
    far = max(float(other.values["steepest"].value or 0) for other in same)
    return -far, far


def strongest(activation: np.ndarray) -> np.ndarray:
    """Return the channels of an activation (channels, ...) by their mean size, the highest first."""
    sizes = np.abs(activation).reshape(len(activation), -1).mean(axis=1, dtype=np.float64)
    return np.argsort(-sizes, kind="stable")


def mosaic(maps: np.ndarray) -> np.ndarray:
    """Return maps (n, rows, columns) side by side in a square, NaN between and behind them."""
    count, rows, columns = maps.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    gap = max(1, columns // 12)
    sheet = np.full((down * (rows + gap) - gap, across * (columns + gap) - gap), np.nan, dtype=np.float32)
    for index, one in enumerate(maps):
        top, left = index // across * (rows + gap), index % across * (columns + gap)
        sheet[top : top + rows, left : left + columns] = one
    return sheet


def contact_sheet(pictures: np.ndarray) -> np.ndarray:
    """Return pictures, bytes (n, height, width, 3), side by side in a square on white."""
    layers = [np.nan_to_num(mosaic(pictures[..., colour]), nan=255.0) for colour in range(3)]
    return np.stack(layers, axis=-1).astype(np.uint8)


def coloured(values: np.ndarray, limits: tuple[float, float], *, signed: bool) -> np.ndarray:
    """Return a map (height, width) as bytes (height, width, 3)."""
    low, high = limits
    shares: np.ndarray = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return _bytes(mpl.colormaps[DIVERGING if signed else SEQUENTIAL](shares)[..., :3])


def foremost(changes: np.ndarray) -> np.ndarray:
    """Return of changes (channels, height, width) the largest at each place, with its sign."""
    largest = np.abs(changes).argmax(axis=0)[None]
    chosen: np.ndarray = np.take_along_axis(changes, largest, axis=0)[0]
    return chosen


def overlaid(below: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return colours laid over a picture whose own colours are taken out; all bytes (height, width, 3)."""
    grey = (below.astype(np.float64) @ [0.299, 0.587, 0.114])[..., None]
    return np.round(OPACITY * colours + (1 - OPACITY) * grey).astype(np.uint8)


def colour_bar(*, signed: bool) -> np.ndarray:
    """Return a bar from the lowest to the highest colour, bytes (1, 256, 3)."""
    return coloured(np.linspace(0, 1, 256)[None], (0.0, 1.0), signed=signed)


def encoded(pixels: np.ndarray) -> tuple[str, bytes]:
    """Return a file extension and the file's bytes: lossless while small, WebP for the eye where that saves much."""
    buffer = io.BytesIO()
    small = pixels.shape[0] * pixels.shape[1] <= LOSSLESS_UP_TO
    image = Image.fromarray(pixels)
    if small:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="WEBP", quality=85)
    return ("png" if small else "webp"), buffer.getvalue()


def tiles(values: np.ndarray) -> list[list[float]]:
    """Return the means of a map over at most 8 x 8 tiles, for tables."""
    rows = np.array_split(np.arange(values.shape[0]), min(TILE, values.shape[0]))
    columns = np.array_split(np.arange(values.shape[1]), min(TILE, values.shape[1]))
    return [[float(values[np.ix_(row, column)].mean()) for column in columns] for row in rows]


def figure(run: Evidence, finding: Finding) -> Figure:
    """Return input, overlay and colour bar as a matplotlib figure.

    Of a visualization it shows the picture and its curve, of channels their pictures, of an activation the strongest
    channels and their gradients, of a change both inputs and what was added, of a drift both maps, of bounds a bar for
    each number, of detectors the scores with the threshold, of a summary the mean maps of its groups, of neighbours and
    exemplars the entries.

    Raises:
        UsageError: there is nothing to draw but numbers.
    """
    if "perturbation" in finding.artefacts or "before" in finding.artefacts:
        return _change_figure(run, finding)
    if "picture" in finding.artefacts:
        return _curve_figure(run, finding)
    if "activation" in finding.artefacts:
        return _channels_figure(run, finding)
    if "shown" in finding.artefacts:
        return _bars_figure(run, finding)
    if "held" in finding.artefacts:
        return _scores_figure(run, finding)
    if "group maps" in finding.artefacts:
        return _groups_figure(run, finding)
    if {"pictures", "thumbnails"} & finding.artefacts.keys():
        return _sheet_figure(run, finding)
    record = _pictured(run, finding)
    below = picture(run.prepared(record), record.range)
    target = f" for {finding.target.name}" if finding.target else ""
    drawn = Drawn(figsize=(7, 3.2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    left.imshow(below)
    left.set_title(record.id, parse_math=False)
    right.set_title(f"{finding.title}{target}", parse_math=False)
    if finding.status != "ok" or is_blank(finding):
        right.text(
            0.5, 0.5, finding.reason or " ".join(finding.notes), ha="center", va="center", wrap=True, parse_math=False
        )
    else:
        low, high = scale(run, finding)
        right.imshow(below.mean(axis=-1), cmap="gray")
        shown = right.imshow(
            run.array(finding, "map"),
            cmap=DIVERGING if is_signed(finding) else SEQUENTIAL,
            alpha=OPACITY,
            vmin=low,
            vmax=high,
        )
        drawn.colorbar(shown, ax=right, label=finding.values["highest"].unit)
    for axes in (left, right):
        axes.set_axis_off()
    return drawn


def adversarial(run: Evidence, finding: Finding) -> np.ndarray:
    """Return the adversarial input that a finding is about: a change's own, a drift's change's."""
    held = (one for one in run.findings if one.input == finding.input and "adversarial" in one.artefacts)
    return run.array(next(held), "adversarial")


def _pictured(run: Evidence, finding: Finding) -> InputRecord:
    """Return the input, a picture, that a finding is about."""
    record = None if finding.input is None else run.input(finding)
    drawn = {"map", "perturbation", "before"} & finding.artefacts.keys()
    if record is None or len(record.prepared.shape) != 3 or (finding.status == "ok" and not drawn):
        raise UsageError(f"{finding.title} is told in numbers: see its values, or the report that save(folder) writes")
    return record


def _change_figure(run: Evidence, finding: Finding) -> Figure:
    record = _pictured(run, finding)
    inputs = (run.prepared(record), adversarial(run, finding))
    before, after = (picture(one, record.range) for one in inputs)
    shown: list[tuple[str, np.ndarray | None, np.ndarray | None]]
    if "perturbation" in finding.artefacts:
        added = foremost(run.array(finding, "perturbation"))
        answers = [finding.values[name].value for name in ("first answer", "second answer")]
        shown = [(f"{answers[0]}", before, None), ("what was added", None, added), (f"{answers[1]}", after, None)]
    else:
        shown = [("before", before, run.array(finding, "before")), ("after", after, run.array(finding, "after"))]
    low, high = scale(run, finding)
    drawn = Drawn(figsize=(9, 3.2), layout="constrained")
    drawn.suptitle(f"{finding.title}: {record.id}", parse_math=False)
    for axes, (title, below, values) in zip(drawn.subplots(1, len(shown)), shown, strict=True):
        axes.set_title(title, parse_math=False)
        axes.set_axis_off()
        if below is not None:
            axes.imshow(below if values is None else below.mean(axis=-1), cmap="gray")
        if values is not None:
            colours, alpha = DIVERGING if is_signed(finding) else SEQUENTIAL, 1 if below is None else OPACITY
            bar = axes.imshow(values, cmap=colours, alpha=alpha, vmin=low, vmax=high)
            drawn.colorbar(bar, ax=axes, label=finding.values["highest"].unit)
    return drawn


def _curve_figure(run: Evidence, finding: Finding) -> Figure:
    drawn = Drawn(figsize=(7, 3.2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    left.imshow(picture(run.array(finding, "picture"), run.range))
    left.set_axis_off()
    left.set_title(f"{finding.title} for {finding.target.name if finding.target else ''}", parse_math=False)
    right.plot(run.array(finding, "objective"))
    right.set_xlabel("step")
    right.set_title(str(finding.values["raised"].value), parse_math=False)
    return drawn


def _sheet_figure(run: Evidence, finding: Finding) -> Figure:
    drawn = Drawn(figsize=(6, 6), layout="constrained")
    axes = drawn.subplots()
    title, made = finding.title, "pictures" in finding.artefacts
    if made:
        numbers = ", ".join(map(str, run.array(finding, "channels").tolist()))
        title = f"{title}: {finding.parameters['layer']}, {numbers}"
    axes.set_title(title, wrap=True, parse_math=False)
    axes.imshow(contact_sheet(channel_pictures(run, finding) if made else run.array(finding, "thumbnails")))
    axes.set_axis_off()
    return drawn


def channel_pictures(run: Evidence, finding: Finding) -> np.ndarray:
    """Return the pictures of a finding's channels as bytes (n, height, width, 3)."""
    return np.stack([picture(one, run.range) for one in run.array(finding, "pictures")])


def _channels_figure(run: Evidence, finding: Finding) -> Figure:
    activation, gradient = (run.array(finding, name) for name in ("activation", "gradient"))
    order = strongest(activation)[:CHANNELS]
    target = f"gradient for {finding.target.name if finding.target else ''}"
    drawn = Drawn(figsize=(9, 4), layout="constrained")
    drawn.suptitle(
        f"{finding.parameters['layer']}: strongest {', '.join(map(str, order))}", wrap=True, parse_math=False
    )
    parts = (("activation", activation, SEQUENTIAL, scale), (target, gradient, DIVERGING, gradient_scale))
    for axes, (title, values, colours, limits) in zip(drawn.subplots(1, 2), parts, strict=True):
        axes.set_title(title, parse_math=False)
        if values.ndim < 3:
            axes.bar([str(index) for index in order], values[order])
            continue
        low, high = limits(run, finding)
        drawn.colorbar(axes.imshow(mosaic(values[order]), cmap=colours, vmin=low, vmax=high), ax=axes)
        axes.set_axis_off()
    return drawn


def _groups_figure(run: Evidence, finding: Finding) -> Figure:
    means = run.array(finding, "group maps")
    drawn = Drawn(figsize=(6, 6), layout="constrained")
    axes = drawn.subplots()
    axes.set_title(f"{finding.title}: mean maps of {len(means)} groups", parse_math=False)
    axes.set_axis_off()
    if len(means):
        shown = axes.imshow(mosaic(means), cmap=SEQUENTIAL, vmin=0, vmax=float(means.max()))
        drawn.colorbar(shown, ax=axes, label="share of what speaks for the answer")
    return drawn


def _scores_figure(run: Evidence, finding: Finding) -> Figure:
    drawn = Drawn(figsize=(6, 3.2), layout="constrained")
    axes = drawn.subplots()
    axes.set_title(f"{finding.title} {finding.input or ''}", parse_math=False)
    axes.hist(run.array(finding, "held"), bins=40, density=True, alpha=0.5, label="held back")
    if "scores" in finding.artefacts:
        axes.hist(run.array(finding, "scores"), bins=40, density=True, histtype="step", label="these images")
    given = finding.values["threshold"].value if "threshold" in finding.values else finding.parameters["threshold"]
    axes.axvline(float(given or 0), ls=":", label="threshold")
    if "score" in finding.values:
        axes.axvline(float(finding.values["score"].value or 0), color="k", label="this image")
    axes.set_xlabel("score; higher is more out-of-distribution")
    axes.legend(fontsize="small")
    return drawn


def _bars_figure(run: Evidence, finding: Finding) -> Figure:
    sizes = [name.removeprefix("epsilon ") for name in finding.parameters if name.startswith("epsilon ")]
    shown = run.array(finding, "shown")
    classes = run.record.model.card["classes"] if "answer" in finding.values else range(shown.max() + 1)
    ends = {name: run.array(finding, name)[:, shown] for name in BARS}
    drawn = Drawn(figsize=(4.5 * len(sizes), 1 + 0.3 * len(shown)), layout="constrained")
    drawn.suptitle(f"{finding.title}: {finding.input}", parse_math=False)
    places = np.arange(len(shown))
    for step, axes in enumerate(drawn.subplots(1, len(sizes), squeeze=False)[0]):
        axes.set_title(f"within {sizes[step]} ({finding.parameters['norm']})", parse_math=False)
        for (low, high), height in zip((BARS[:2], BARS[2:4], BARS[4:]), (0.8, 0.5, 0.2), strict=True):
            width = ends[high][step] - ends[low][step]
            axes.barh(places, width, height, ends[low][step], alpha=height, label=f"{low} to {high}")
        axes.plot(run.array(finding, "value")[shown], places, "k.", label="the image itself")
        axes.set_yticks(places, [str(classes[index]) for index in shown], parse_math=False)
        axes.invert_yaxis()
    axes.legend(fontsize="small")
    return drawn


def _bytes(shares: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.round(255 * np.clip(shares, 0, 1))
    return rounded.astype(np.uint8)
