"""Detectors fitted to a bundled sample, once a session."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.ood.subjects import digit_pictures
from xai.models.model import Model
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.ood.features import Reader, content_keys
from xai.robustness.ood.fitting import Batch, FittedSet, fit
from xai.robustness.ood.guard import Guard, calibrate


@pytest.fixture(scope="session")
def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Digits to fit on, their labels, those that are held back, and new ones."""
    train, test = digit_pictures()
    return train.images[:600], train.labels[:600], test.images[:300], test.images[300:]


@pytest.fixture(scope="session")
def fitted_digits(digits: Model, pictures: tuple[torch.Tensor, ...]) -> FittedSet:
    return fit(Reader(digits), [Batch(pictures[0], pictures[1])], [kind() for kind in detectors.all().values()])


@pytest.fixture(scope="session")
def guard(digits: Model, pictures: tuple[torch.Tensor, ...], fitted_digits: FittedSet) -> Guard:
    return calibrate(fitted_digits, fitted_digits.scores(digits, pictures[2]), content_keys(pictures[2]))
