"""Train the sample `shapes` anew: python -m xai.models.samples.shapes.train [FOLDER].

Seeded; writes the weights, their card with the measured accuracy, and the example pictures.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from xai.models.export import evaluating
from xai.models.samples.shapes import CLASSES, SIZE, Shapes, generate, make

SEED, TRAIN, TEST = 0, 6000, 2000
TEST_SEED, EXAMPLE_SEED = 1, 2
EPOCHS, BATCH = 6, 64

log = logging.getLogger(__name__)


def train() -> nn.Module:
    """Return the network, trained on seeded pictures."""
    data = generate(TRAIN, SEED)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = make().train()
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
        steps = EPOCHS * -(-TRAIN // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
        for epoch in range(EPOCHS):
            total = 0.0
            for index in torch.randperm(TRAIN).split(BATCH):
                loss = nn.functional.cross_entropy(network(data.images[index]), data.labels[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(index)
            log.info("epoch %d of %d: loss %.4f", epoch + 1, EPOCHS, total / TRAIN)
    return network.eval()


def accuracy(network: nn.Module, data: Shapes) -> float:
    """Return the share of pictures whose class is right."""
    with evaluating(network), torch.no_grad():
        predicted = torch.cat([network(images).argmax(1) for images in data.images.split(256)])
    return float((predicted == data.labels).double().mean())


def write(network: nn.Module, folder: Path) -> None:
    """Write weights, card, and one picture of each class with its mask."""
    measured = accuracy(network, generate(TEST, TEST_SEED))
    card = {
        "name": "shapes",
        "description": "Tells six shapes on textured backgrounds apart; made to test explanations.",
        "classes": list(CLASSES),
        "output": "logits",
        "input": {"shape": [3, SIZE, SIZE], "range": [0, 1]},
        "measured": {"accuracy": measured, "pictures": TEST, "seed": TEST_SEED},
    }
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "model.safetensors"
    )
    (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    examples = generate(len(CLASSES), EXAMPLE_SEED)
    for image, label, mask in zip(examples.images, examples.labels, examples.masks, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / "images" / f"{CLASSES[label]}.png")
        Image.fromarray(mask.numpy()).save(folder / "masks" / f"{CLASSES[label]}.png")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write(train(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
