"""The architectures that every explainer is tried on, opened once a session."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xai.api import load
from xai.models.architectures import build
from xai.models.model import Model

ARCHITECTURES = ("resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny", "vit_b_16", "swin_t")
SIDE = 128  # px, of the pictures that they are tried on
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Loader = Callable[[str], Model]


def network(name: str) -> torch.nn.Module:
    """Return a torchvision network with seeded weights."""
    size = f"(image_size={SIDE})" if name == "vit_b_16" else ""
    made = build(f"torchvision:{name}{size}", seed=1).network.eval()
    if name == "vit_b_16":  # torchvision begins with a head of zeros, which gives no gradient at all
        torch.nn.init.normal_(made.heads.head.weight, generator=torch.Generator().manual_seed(1))
    return made


def open_network(name: str) -> Model:
    """Return it as a model."""
    return load(network(name), shape=(3, SIDE, SIDE), mean=MEAN, std=STD)
