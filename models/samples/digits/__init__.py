"""The sample `digits`: real handwriting, scikit-learn's 1797 digits of 8 x 8 pixels.

They are the test set of Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, UCI, 1998), written by 13
people. Each of them may be in both of our splits: the accuracy says nothing of a hand that the network has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from xai.models.samples.networks import block, classifier

CLASSES = tuple("0123456789")
SIZE = 8
LEVELS, TEST, SPLIT_SEED = 16, 500, 0


@dataclass(frozen=True)
class Digits:
    """Pictures with their labels.

    Args:
        images: (n, 1, 8, 8) float32 in [0, 1], of 8-bit precision; ink is bright.
        labels: (n,) int64.
    """

    images: torch.Tensor
    labels: torch.Tensor


def split() -> tuple[Digits, Digits]:
    """Return 1297 pictures to train with and 500 to test with, always the same, each class with its share in both."""
    # Whoever opens the sample needs the network alone, and need not wait for scikit-learn.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    rows, labels = load_digits(return_X_y=True)
    train_rows, test_rows, train_labels, test_labels = train_test_split(
        rows, labels, test_size=TEST, stratify=labels, random_state=SPLIT_SEED
    )
    return _digits(train_rows, train_labels), _digits(test_rows, test_labels)


def held_out(first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (n, 1, 8, 8) of the test split and labels (n,); there are 500."""
    test = split()[1]
    return test.images[first:last], test.labels[first:last]


def _digits(rows: np.ndarray, labels: np.ndarray) -> Digits:
    """Make digits of rows (n, 64) in 0 to 16, rounded to 8 bits so that a PNG holds them without loss."""
    pixels = (torch.from_numpy(rows) * 255 / LEVELS).round().float() / 255
    return Digits(pixels.reshape(-1, 1, SIZE, SIZE), torch.from_numpy(labels).long())


def make(classes: int = len(CLASSES)) -> nn.Module:
    """Return the network without its weights: four convolutions, global average pooling, one linear layer."""
    features = [*block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 48), *block(48, 48)]
    return classifier(features, 48, classes)
