"""Train the sample `shapes` anew: python -m xai.models.samples.shapes.train [FOLDER].

Seeded; writes the weights, their card with the measured accuracy, and the example pictures.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import nn

from xai.models.samples.shapes import CLASSES, SIZE, generate, make
from xai.models.samples.training import fit, right, save, save_picture, script

SEED, TRAIN, TEST = 0, 6000, 2000
TEST_SEED, EXAMPLE_SEED = 1, 2
EPOCHS, BATCH = 6, 64


def train() -> nn.Module:
    """Return the network, trained on seeded pictures."""
    data = generate(TRAIN, SEED)
    return fit(make, data.images, data.labels, seed=SEED, epochs=EPOCHS, batch=BATCH)


def write(network: nn.Module, folder: Path) -> None:
    """Write weights, card, and one picture of each class with its mask."""
    data = generate(TEST, TEST_SEED)
    measured = right(network, data.images, data.labels).double().mean().item()
    card = {
        "name": "shapes",
        "description": "Tells six shapes on textured backgrounds apart; made to test explanations.",
        "classes": list(CLASSES),
        "output": "logits",
        "input": {"shape": [3, SIZE, SIZE], "range": [0, 1], "mean": [0], "std": [1]},
        "measured": {"accuracy": measured, "pictures": TEST, "seed": TEST_SEED},
    }
    save(network, card, folder)
    (folder / "masks").mkdir(exist_ok=True)
    examples = generate(len(CLASSES), EXAMPLE_SEED)
    for image, label, mask in zip(examples.images, examples.labels, examples.masks, strict=True):
        save_picture(image, folder / "images" / f"{CLASSES[label]}.png")
        Image.fromarray(mask.numpy()).save(folder / "masks" / f"{CLASSES[label]}.png")


if __name__ == "__main__":
    script(train, write, Path(__file__).parent)
