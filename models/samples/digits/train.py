"""Train the sample `digits` anew: python -m xai.models.samples.digits.train [FOLDER].

Seeded; writes the weights, their card with the measured accuracy, and the example pictures.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from xai.models.samples.digits import CLASSES, SIZE, SPLIT_SEED, TEST, make, split
from xai.models.samples.training import fit, right, save, save_picture, script

SEED, EPOCHS, BATCH = 0, 20, 64


def train() -> nn.Module:
    """Return the network, trained on the training split."""
    data, _ = split()
    return fit(make, data.images, data.labels, seed=SEED, epochs=EPOCHS, batch=BATCH)


def write(network: nn.Module, folder: Path) -> None:
    """Write weights, card, and of each class the first picture of the test split that the network gets right."""
    _, data = split()
    hits = right(network, data.images, data.labels)
    card = {
        "name": "digits",
        "description": "Tells handwritten digits apart; made with scikit-learn's copy of the UCI digits.",
        "classes": list(CLASSES),
        "output": "logits",
        "input": {"shape": [1, SIZE, SIZE], "range": [0, 1], "mean": [0], "std": [1]},
        "measured": {"accuracy": hits.double().mean().item(), "pictures": TEST, "seed": SPLIT_SEED},
    }
    save(network, card, folder)
    for label, name in enumerate(CLASSES):
        first = (hits & (data.labels == label)).nonzero()[0, 0]
        save_picture(data.images[first], folder / "images" / f"{name}.png")


if __name__ == "__main__":
    script(train, write, Path(__file__).parent)
