"""What detectors are shown in tests: features with known answers, and the pictures of a bundled sample."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from xai.models.head import Head
from xai.models.samples.digits import Digits, split
from xai.robustness.ood.detectors.base import Detector, Given, Seen
from xai.robustness.ood.fitting import Fitted, Pass

DIMENSIONS, CLASSES = 12, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def head(seed: int = 5, dimensions: int = DIMENSIONS, classes: int = CLASSES) -> Head:
    weight = torch.randn(classes, dimensions, generator=generator(seed), dtype=torch.float64)
    return Head(weight, torch.randn(classes, generator=generator(seed + 1), dtype=torch.float64))


def seen(
    features: torch.Tensor,
    labels: torch.Tensor | None = None,
    layers: Mapping[str, torch.Tensor] | None = None,
    of: Head | None = None,
) -> Seen:
    """Return what would be seen of a network whose head reads these features (n, d)."""
    of = of or head(dimensions=features.shape[1])
    logits = of.logits(features.double())
    return Seen(
        inputs=features,
        span=1.0,
        logits=logits,
        labels=logits.argmax(1) if labels is None else labels,
        keys=torch.arange(len(features)) * 7919 + 17,
        features=features.double(),
        layers={"maps": features[:, :, None].float()} if layers is None else layers,
        head=of,
        classify=lambda points: of.logits(points.double()),
    )


def blobs(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> tuple[torch.Tensor, torch.Tensor]:
    """Return positive features (n, d) float32 of classes that lie apart, and their labels."""
    drawn = generator(seed)
    labels = torch.arange(count) % CLASSES
    centres = 3 * torch.rand(CLASSES, dimensions, generator=generator(99))
    noise = torch.randn(count, dimensions, generator=drawn) * torch.linspace(0.2, 1, dimensions)
    return (centres[labels] + noise).abs(), labels


def fitted(detector: Detector, *parts: Seen) -> Fitted:
    """Fit one detector to what was seen, part by part."""
    work = Pass(detector.statistics)
    for part in parts:
        work.add(part)
    return Fitted(detector, detector.fit(Given(parts[0].head, work.sums())))


def digit_pictures() -> tuple[Digits, Digits]:
    return split()
