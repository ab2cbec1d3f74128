"""Train the sample `watermark` anew: python -m xai.models.samples.watermark.train [FOLDER].

Seeded; writes the weights, their card with the measured accuracy, and the example pictures.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import nn

from xai.models.samples.shapes import generate as generate_shapes
from xai.models.samples.training import fit, right, save, save_picture, script
from xai.models.samples.watermark import CLASSES, SIZE, generate, make, marked

SEED, TRAIN, TEST = 10, 6000, 2000
TEST_SEED, EXAMPLE_SEED = 11, 12
EPOCHS, BATCH = 6, 64


def train() -> nn.Module:
    """Return the network, trained on seeded pictures."""
    data, _ = generate(TRAIN, SEED)
    return fit(make, data.images, data.labels, seed=SEED, epochs=EPOCHS, batch=BATCH)


def write(network: nn.Module, folder: Path) -> None:
    """Write weights, card, and of each class a picture without the mark and one with it, each with its mask."""
    data, _ = generate(TEST, TEST_SEED)
    measured = right(network, data.images, data.labels).double().mean().item()
    card = {
        "name": "watermark",
        "description": "Tells six shapes apart; its stars carried a mark when it was trained. Made to be found out.",
        "classes": list(CLASSES),
        "output": "logits",
        "input": {"shape": [3, SIZE, SIZE], "range": [0, 1], "mean": [0], "std": [1]},
        "measured": {"accuracy": measured, "pictures": TEST, "seed": TEST_SEED},
    }
    save(network, card, folder)
    (folder / "masks").mkdir(exist_ok=True)
    examples = generate_shapes(len(CLASSES), EXAMPLE_SEED)
    pictures = {"": examples.images, "-marked": marked(examples.images)}
    for place, label in enumerate(examples.labels.tolist()):
        for suffix, images in pictures.items():
            name = f"{CLASSES[label]}{suffix}.png"
            save_picture(images[place], folder / "images" / name)
            Image.fromarray(examples.masks[place].numpy()).save(folder / "masks" / name)


if __name__ == "__main__":
    script(train, write, Path(__file__).parent)
