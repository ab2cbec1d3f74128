"""Inputs beside a data set: noted while they are explained, told once the data were read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from xai.data.dataset import DataSet, open_data
from xai.data.samples import Sample
from xai.engine.attempt import Attempt, attempt
from xai.engine.choice import made
from xai.engine.reference import nearest, strongest
from xai.engine.reference.nearest import Asked, neighbours
from xai.engine.reference.reading import Eye, Reading, Top
from xai.engine.reference.strongest import exemplars
from xai.errors import NotApplicableError, UsageError
from xai.models.channels import ChannelList, numbers_of
from xai.models.features import Place, feature_place
from xai.models.graph import Layer
from xai.models.model import Model
from xai.reports.artefacts import Store
from xai.reports.figures import picture, thumbnail
from xai.reports.records import Finding, Scalar
from xai.robustness.ood.features import content_keys
from xai.runtime import Runtime

NAME = "reference"
COUNT = 4  # channels of each input where none are named


class Sought(BaseModel):
    """What is shown of a reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    neighbours: int = Field(default=5, ge=1, le=100, description="entries of each input, the nearest")
    exemplars: int = Field(default=4, ge=1, le=100, description="entries of each channel, the strongest")
    channels: ChannelList | None = Field(
        default=None, description="channels that are looked at, from 0, separated by commas; default the strongest"
    )
    count: int | None = Field(default=None, ge=1, le=256, description=f"the strongest of each input; default {COUNT}")


@dataclass(frozen=True)
class Reference:
    """What inputs are put beside.

    Args:
        data: whose entries are looked at.
        layer: whose channels are looked at; default the last one with rows and columns.
        sought: what is shown of them.
    """

    data: DataSet
    layer: str | None = None
    sought: Sought = field(default_factory=Sought)


def open_reference(
    model: Model,
    data: Any,
    labels: str | Path | None = None,
    layer: str | None = None,
    sought: Mapping[str, Any] | None = None,
) -> Reference | None:
    """Return the data that inputs are put beside, None where none were named.

    Args:
        model: that looks at them.
        data: see `open_data`; None for none.
        labels: file with a label each, for arrays that do not bring them.
        layer: whose channels are looked at.
        sought: what is shown of them: the fields of `Sought`.

    Raises:
        UsageError: there are no such data, or labels or what is sought were named without them, or do not fit.
        RefusedFileError: a file is damaged, unsafe, or not what it seems.
    """
    if data is None:
        if labels is not None:
            raise UsageError("labels of a reference were given without the reference; name its data too")
        if sought:
            raise UsageError(f"parameters of {NAME} were given without the reference; name its data too")
        return None
    asked = Reference(open_data(data, model, labels=labels), layer, made(Sought, sought or {}, NAME))
    if asked.sought.channels is not None and asked.sought.count is not None:
        raise UsageError(f"{NAME}.channels and .count were given; name the channels, or how many")
    if model.graph is not None:
        with suppress(NotApplicableError):  # the channels are skipped then, with that reason
            _named(asked, model)
    return asked


def _layer(asked: Reference, model: Model) -> Layer:
    """Return the layer whose channels are looked at."""
    return model.spatial_layer if asked.layer is None else model.layer(asked.layer)


def _named(asked: Reference, model: Model) -> list[int] | None:
    """Return the channels that were named, None where the inputs choose them."""
    channels = asked.sought.channels
    return None if channels is None else numbers_of(channels, _layer(asked, model), f"{NAME}.channels")


class Beside:
    """Puts inputs beside a data set.

    Args:
        model: that looks at both.
        reference: the data, and what is asked of them.
        runtime: seed, memory, progress.
        store: keeps the arrays.
    """

    def __init__(self, model: Model, reference: Reference, runtime: Runtime, store: Store) -> None:
        self._model, self._reference, self._runtime, self._store = model, reference, runtime, store
        self._places: dict[str, Attempt[Place]] = {
            nearest.FAMILY: attempt("the features", lambda: feature_place(model)),
            strongest.FAMILY: attempt("the layer", self._layer),
        }
        self._eye = Eye(model, *(self._places[family].answer for family in (nearest.FAMILY, strongest.FAMILY)))
        self._asked: list[Asked] = []
        self._directions: list[torch.Tensor] = []
        self._keys: list[torch.Tensor] = []
        self._means: dict[str, dict[int, float]] = {}
        self._channels = _named(reference, model) if self._places[strongest.FAMILY].answer else None

    def note(self, sample: Sample) -> None:
        """Look at an input."""
        if self._model.graph is None:
            self._asked.append(Asked(sample.id, None))
            return
        x = sample.input[None]
        with self._runtime.seeded("reference", sample.digest):
            seen = self._eye.see(x)
        is_class = self._model.card.output != "values"
        self._asked.append(Asked(sample.id, int(seen.answers[0]) if is_class else None))
        self._directions.append(seen.directions)
        self._keys.append(content_keys(x))
        means = seen.means[0].tolist()
        chosen = self._channels or strongest.strongest(means, self._reference.sought.count or COUNT)
        self._means[sample.id] = {channel: means[channel] for channel in chosen}

    def findings(self) -> list[Finding]:
        """Read the data, and return what is said of each input and of the channels."""
        able = any(place.answer is not None for place in self._places.values())
        tried = attempt("the reference", self._read) if able else Attempt[Reading]("skipped", None, "", 0.0)
        share = tried.seconds / (len(self._asked) + 1)
        found = [*self._told(tried)]
        return [one.model_copy(update={"seconds": share}) if one.status == "ok" else one for one in found]

    def notes(self, findings: list[Finding]) -> tuple[str, ...]:
        """Return what a reader must know of the data, once they were read."""
        told = any(one.status == "ok" for one in findings)
        return tuple(f"reference: {note}" for note in self._reference.data.notes) if told else ()

    def _told(self, tried: Attempt[Reading]) -> list[Finding]:
        reading = tried.answer
        found = []
        for place, asked in enumerate(self._asked):
            blank = self._refused(nearest.blank(asked), tried)
            told = reading is not None and not blank.reason
            found.append(neighbours(place, asked, reading, self._store) if told and reading else blank)
        blank = self._refused(strongest.blank(), tried)
        told = reading is not None and not blank.reason
        found.append(exemplars(self._means, reading, self._store) if told and reading else blank)
        return [self._described(one, reading) for one in found]

    def _refused(self, blank: Finding, tried: Attempt[Reading]) -> Finding:
        """Return a finding with the reason why it says nothing, if there is one."""
        place = self._places[blank.family]
        cause: Attempt[Any] = place if place.answer is None else tried
        return blank.model_copy(update={"status": cause.status, "reason": cause.reason})

    def _described(self, finding: Finding, reading: Reading | None) -> Finding:
        """Return a finding with the parameters that shaped it, and what was not looked at."""
        asked, place = self._reference, self._places[finding.family].answer
        sought = asked.sought
        parameters: dict[str, Scalar] = {"reference": asked.data.source, "layer": place.name if place else None}
        if finding.family == nearest.FAMILY:
            parameters |= {"neighbours": sought.neighbours, "alike by": "cosine of the features, means over places"}
        else:
            named: dict[str, Scalar] = {"channels named": sought.channels}
            own: dict[str, Scalar] = {"channels of each input": sought.count or COUNT}
            parameters |= {**(named if sought.channels else own), "entries of each channel": sought.exemplars}
        if reading is None:
            return finding.model_copy(update={"parameters": parameters})
        parameters |= {"entries": len(asked.data), "entries read": reading.read, "reference's sha256": reading.digest}
        return finding.model_copy(update={"parameters": parameters, "notes": (*finding.notes, *_left_out(reading))})

    def _read(self) -> Reading:
        channels = list(dict.fromkeys(channel for strong in self._means.values() for channel in strong))
        asked, sought = self._reference, self._reference.sought
        reading = Reading(
            asked.data,
            self._eye,
            torch.cat(self._directions),
            torch.cat(self._keys),
            channels,
            Top(len(self._asked), sought.neighbours),
            Top(len(channels), sought.exemplars),
            self._runtime,
        )
        reading.run()
        reading.pictures = self._thumbnails(reading)
        return reading

    def _layer(self) -> Place:
        layer = _layer(self._reference, self._model)
        return Place(layer.name, layer.node, layer)

    def _thumbnails(self, reading: Reading) -> dict[int, np.ndarray]:
        """Read the entries that are shown once more, and keep what they look like."""
        if not self._model.input.is_picture:
            return {}
        span, data = self._model.input.span, self._reference.data
        return {index: thumbnail(picture(data.read(index).input.numpy(), span)) for index in reading.shown()}


def _left_out(reading: Reading) -> list[str]:
    told = []
    if reading.skipped:
        first = reading.skipped[0]
        told.append(
            f"{len(reading.skipped)} of {len(reading.data)} entries could not be read; the first, {first.id}: "
            f"{first.reason}"
        )
    if reading.unusable:
        told.append(f"Entries left out, since the network gives NaN or infinite values for them: {reading.unusable}.")
    return told
