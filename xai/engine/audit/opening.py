"""The model and the data that a policy names: opened beside its file, before anything is measured."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from xai.data.dataset import DataSet, open_data
from xai.engine.audit.run import Roles
from xai.models.loading import load
from xai.models.model import Model
from xai.reports.policy.fields import Source
from xai.reports.policy.reading import ReadPolicy

_NAMED = re.compile(r"[a-z]+:(?![/\\])")  # sample:shapes, torchvision:resnet18; C:\ is a path


def open_model(
    read: ReadPolicy, *, device: torch.device | None, seed: int = 0, trusted: bool = False, arch: str | None = None
) -> Model:
    """Return the model that a policy names; see `load` for what can go wrong.

    Args:
        read: the policy; paths are relative to its file.
        device: where the model runs.
        seed: of weights that are drawn.
        trusted: whether code in the model file may run.
        arch: the architecture that the user names, instead of the policy's; only that may be code.
    """
    asked = read.policy.model
    card = Path(beside(read, asked.card)) if asked.card else None
    return load(
        beside(read, asked.source),
        arch=arch or asked.arch,
        card=card,
        labels=None,
        device=device,
        seed=seed,
        trusted=trusted,
    )


def open_roles(read: ReadPolicy, model: Model) -> Roles:
    """Return the data that a policy names, as inputs of a model."""
    data = read.policy.data
    return Roles(
        _opened(read, data.test, model),
        None if data.calibration is None else _opened(read, data.calibration, model),
        {name: _opened(read, one, model, foreign=True) for name, one in data.ood.items()},
    )


def beside(read: ReadPolicy, source: str) -> str:
    """Return a source, a relative path taken from where the policy lies."""
    if _NAMED.match(source) or Path(source).is_absolute():
        return source
    return str(read.source.parent / source)


def _opened(read: ReadPolicy, source: Source, model: Model, *, foreign: bool = False) -> DataSet:
    labels = beside(read, source.labels) if source.labels else None
    return open_data(beside(read, source.source), model, labels=labels, foreign=foreign).limited(source.limit)
