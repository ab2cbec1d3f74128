"""Published networks with their test images, read through XAI_DATA."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import xai
from xai.models.model import Model


@dataclass(frozen=True)
class Subject:
    """A network in input units, the same as a Model, and images (n, ...) with their labels (n,)."""

    network: nn.Module
    model: Model
    x: torch.Tensor
    y: torch.Tensor

    def first(self, count: int) -> Subject:
        """Return it with the first images only."""
        return Subject(self.network, self.model, self.x[:count], self.y[:count])


class LeNet5(nn.Module):
    """Of advertorch's examples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(3136, 200), nn.Linear(200, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(self.conv1(x).relu(), 2)
        x = torch.max_pool2d(self.conv2(x).relu(), 2)
        return self.linear2(self.linear1(x.flatten(1)).relu())


def convex_adversarial() -> nn.Module:
    """Return the small network of Wong and Kolter's examples."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


class _Block(nn.Module):
    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.stride = planes // inputs
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 3, self.stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))
        return (y + x).relu()


class ResNet20(nn.Module):
    """For CIFAR-10, as akamaster trained it; its normalisation is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(_Block(16, 32), _Block(32, 32), _Block(32, 32))
        self.layer3 = nn.Sequential(_Block(32, 64), _Block(64, 64), _Block(64, 64))
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.mean) / self.std
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.linear(x.mean((2, 3)))


Images = Callable[[Path], tuple[torch.Tensor, torch.Tensor]]


def _digits(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images = gzip.decompress((folder / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = np.frombuffer(images, dtype=np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(x), torch.from_numpy(np.frombuffer(labels, dtype=np.uint8).astype(np.int64))


def _cifar(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    x = np.load(folder / "cifar10" / "abcrown_sdp_X.npy").astype(np.float32).transpose(0, 3, 1, 2)
    y = np.load(folder / "cifar10" / "abcrown_sdp_y.npy").astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)


CLEAN, ROBUST, CONVEX, CIFAR = "LeNet5", "LeNet5 trained against attacks", "convex adversarial", "ResNet-20"
_NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, Images]] = {
    CLEAN: (LeNet5, "advertorch_mnist_lenet5_clntrained.pt", _digits),
    ROBUST: (LeNet5, "advertorch_mnist_lenet5_advtrained.pt", _digits),
    CONVEX: (convex_adversarial, "convexadv_mnist.pth", _digits),
    CIFAR: (ResNet20, "akamaster_resnet20-12fca82f.th", _cifar),
}


def subject(name: str, device: str) -> Subject:
    """Return a published network with its images; raise KeyError without XAI_DATA."""
    folder = Path(os.environ["XAI_DATA"]) / "vision"
    make, weights, images = _NETWORKS[name]
    state: Any = torch.load(folder / "weights" / weights, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    state = state[0] if isinstance(state, list) else state
    network = make()
    network.load_state_dict({key.removeprefix("module."): tensor for key, tensor in state.items()})
    x, y = images(folder)
    model = xai.load(network.eval(), shape=tuple(x.shape[1:]), mean=0.0, std=1.0, device=device)
    return Subject(network, model, x, y)


def since(begun: float) -> float:
    """Return the seconds since a time of time.perf_counter."""
    return round(time.perf_counter() - begun, 2)
