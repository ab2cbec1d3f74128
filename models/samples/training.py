"""What the samples' scripts have in common: training, measuring, and writing what came of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from xai.models.export import evaluating

log = logging.getLogger(__name__)


def fit(
    make: Callable[[], nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    seed: int,
    epochs: int,
    batch: int,
) -> nn.Module:
    """Return a network that was trained on pictures, in evaluation mode.

    Args:
        make: gives the network before its training.
        images: (n, channels, height, width) float32 in [0, 1].
        labels: (n,) int64.
        seed: of the first weights and of the order of the pictures.
        epochs: how often every picture is shown.
        batch: how many pictures make a step.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make().train()
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
        steps = epochs * -(-len(images) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
        for epoch in range(epochs):
            total = 0.0
            for index in torch.randperm(len(images)).split(batch):
                loss = nn.functional.cross_entropy(network(images[index]), labels[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(index)
            log.info("epoch %d of %d: loss %.4f", epoch + 1, epochs, total / len(images))
    return network.eval()


def right(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return of which pictures, (n, channels, height, width) in [0, 1], the network says the class: (n,) bool."""
    with evaluating(network), torch.no_grad():
        predicted = torch.cat([network(part).argmax(1) for part in images.split(256)])
    return predicted == labels


def save(network: nn.Module, card: Mapping[str, Any], folder: Path) -> None:
    """Write the weights and their card into a folder; make the folder too."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "model.safetensors"
    )
    (folder / "model.yaml").write_text(yaml.safe_dump(dict(card), sort_keys=False))


def save_picture(image: torch.Tensor, path: Path) -> None:
    """Write a picture, (1 or 3, height, width) in [0, 1] of 8-bit precision, without loss; make its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.squeeze(2).numpy()).save(path)


def script(train: Callable[[], nn.Module], write: Callable[[nn.Module, Path], None], home: Path) -> None:
    """Train and write into the folder that the command line names, else home."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write(train(), Path(sys.argv[1]) if len(sys.argv) > 1 else home)
