"""What is said of channels: the entries of a data set that each answers to most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai.engine.reference.nearest import entry
from xai.engine.reference.reading import Reading
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.records import Finding, Value

FAMILY = "exemplars"
LIMITS = (
    "What the highest entries have in common need not be what the channel stands for: it answers to others too, less "
    "strongly, and a data set shows only what it holds. A channel that is strong for an input need not matter for its "
    "answer."
)


def blank() -> Finding:
    """Return a finding that says nothing yet."""
    return Finding(
        id=FAMILY,
        family=FAMILY,
        method=FAMILY,
        title="What the channels answer to",
        description="For channels that were named, or that are strongest for the inputs, the entries of a data set "
        "with the highest mean activation over places.",
        limits=LIMITS,
        source="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks",
        kind="exact",
        input=None,
        status="skipped",
    )


def exemplars(means: Mapping[str, Mapping[int, float]], reading: Reading, store: Store) -> Finding:
    """Return the entries that channels answer to most.

    Args:
        means: by input, the mean activation of its strongest channels.
        reading: of the data.
        store: keeps rows and thumbnails.
    """
    channels = [_channel(channel, place, means, reading) for place, channel in enumerate(reading.channels)]
    rows = [row for channel in channels for row in channel.pop("rows")]
    unit = f"mean activation of layer {_layer(reading)}"
    values = {"channels": Value(value=len(channels), unit=f"of layer {_layer(reading)}")}
    for channel in channels:
        highest = next(row for row in rows if row["channel"] == channel["channel"])
        values[f"channel {channel['channel']}, highest"] = Value(value=highest["mean"], unit=unit, n=reading.read)
    artefacts = {"rows": put_rows(store, rows), "channels": put_rows(store, channels)}
    if reading.pictures:
        artefacts["thumbnails"] = put(store, np.stack([reading.pictures[row["entry"]] for row in rows]))
    return blank().model_copy(update={"status": "ok", "values": values, "artefacts": artefacts})


def _channel(channel: int, place: int, means: Mapping[str, Mapping[int, float]], reading: Reading) -> dict[str, Any]:
    found = zip(reading.strong.places[place].tolist(), reading.strong.values[place].tolist(), strict=True)
    return {
        "channel": channel,
        "inputs": {name: strong[channel] for name, strong in means.items() if channel in strong},
        "rows": [{"channel": channel, **entry(index, reading), "mean": mean} for index, mean in found],
    }


def strongest(means: Sequence[float], count: int) -> list[int]:
    """Return the channels with the highest means, of equal ones the first."""
    order: list[int] = np.argsort(-np.asarray(means), kind="stable")[:count].tolist()
    return order


def _layer(reading: Reading) -> str:
    return reading.eye.layer.name if reading.eye.layer else ""
