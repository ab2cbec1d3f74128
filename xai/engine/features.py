"""The features of a data set: what a layer of a network holds for each of its entries."""

from __future__ import annotations

import logging

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.labels import NONE
from xai.models.features import BATCH, feature_place
from xai.models.features import features as rows_of
from xai.models.model import Model
from xai.runtime import Runtime

log = logging.getLogger(__name__)


def features(
    model: Model, data: DataSet, *, layer: str | None, runtime: Runtime
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a row for each entry that could be read, and the class of each; see `xai.models.features.features`.

    Returns:
        Features (n, d) float32, and labels (n,) int64, -1 where one is not known; None if none is.

    Raises:
        UsageError: there is no such layer, or a label is no class.
        NotApplicableError: the model is a black box, or nothing in it stands before its outputs.
        RefusedFileError: no entry could be read.
    """
    place = feature_place(model, layer)
    rows: list[torch.Tensor] = []
    labels: list[int] = []
    skipped: list[Skipped] = []
    for indices in data.shards(BATCH):
        part = data.read_many(indices)
        skipped += part.skipped
        labels += [NONE if label is None else label for label in part.labels]
        if part.samples:
            with runtime.seeded("features", str(indices.start)):
                rows.append(rows_of(model, part.inputs, place))
        runtime.progress("features", indices.stop, len(data))
    check_any_read(data, skipped)
    if skipped:
        first = skipped[0]
        log.warning(
            "%d of %d entries were left out; the first, %s: %s", len(skipped), len(data), first.id, first.reason
        )
    known = any(label != NONE for label in labels)
    return torch.cat(rows).numpy(), np.array(labels, dtype=np.int64) if known else None
