"""A fitted detector of the bundled digits, and their pictures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xai
from tests.robustness.ood.subjects import digit_pictures
from xai.models.model import Model
from xai.reports.run import Run

FEW = ("msp", "energy", "knn", "mahalanobis", "hbos", "react")
Pictures = tuple[torch.Tensor, torch.Tensor]


class Darkness(nn.Module):
    """Gives NaN for dark inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1)) + (x.mean((1, 2, 3)) - 0.25).log()[:, None]


@pytest.fixture(scope="session")
def known() -> Pictures:
    """Digits to fit on, half of them such as the network was never trained on."""
    train, test = digit_pictures()
    return torch.cat((train.images[:300], test.images[:300])), torch.cat((train.labels[:300], test.labels[:300]))


@pytest.fixture(scope="session")
def new() -> Pictures:
    _, test = digit_pictures()
    return test.images[300:], test.labels[300:]


@pytest.fixture(scope="session")
def fitted(digits: Model, known: Pictures) -> Run:
    return xai.ood.fit(digits, known, methods=FEW, holdout=0.3)
