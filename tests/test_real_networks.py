"""Real networks through an architecture file and a card: their known accuracy says that every step is right."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xai.api import load
from xai.cli.main import run
from xai.reports.folder import open_run

NET = """
import torch
from torch import nn
from torch.nn import functional as F


class Shortcut(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.pad = planes // 4

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class Block(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = Shortcut(planes) if stride != 1 else nn.Sequential()

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for number, (inputs, planes) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            first = Block(inputs, planes, 1 if number == 1 else 2)
            rest = [Block(planes, planes, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.size()[3]).view(x.size(0), -1))


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(3136, 200), nn.Linear(200, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.linear2(F.relu(self.linear1(x.flatten(1))))


def make(kind="resnet", blocks=3):
    return ResNet(blocks) if kind == "resnet" else LeNet5()
"""
CIFAR = """
name: CIFAR ResNet-20
classes: [airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck]
input: {shape: [3, 32, 32], mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
"""
MNIST = (
    f"name: MNIST LeNet5\nclasses: {json.dumps([str(digit) for digit in range(10)])}\ninput: {{shape: [1, 28, 28]}}\n"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("cifar.yaml").write_text(CIFAR)
    Path("mnist.yaml").write_text(MNIST)
    return tmp_path


def accuracy(model: object, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        predicted = torch.cat([model(batch).argmax(1) for batch in torch.from_numpy(images).split(100)])
    return float((predicted.numpy() == labels).mean())


def test_cifar_resnet20(data: Path, place: Path) -> None:
    weights = data / "vision" / "weights" / "akamaster_resnet20-12fca82f.th"
    images = np.load(data / "vision" / "cifar10" / "abcrown_sdp_X.npy").transpose(0, 3, 1, 2)
    labels = np.load(data / "vision" / "cifar10" / "abcrown_sdp_y.npy")
    model = load(weights, arch="net.py:make", card="cifar.yaml")
    assert accuracy(model, np.ascontiguousarray(images), labels) == pytest.approx(0.925)

    for index in range(3):
        pixels = (images[index].transpose(1, 2, 0) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(f"cifar{index}.png")
    pictures = [f"cifar{index}.png" for index in range(3)]
    command = ["explain", str(weights), *pictures, "--arch", "net.py:make", "--card", "cifar.yaml", "-o", "out"]
    assert run(command) == 0
    found = open_run(place / "out")
    assert [finding.status for finding in found.findings] == ["ok"] * 9, (
        "two maps of each picture, and whether they agree"
    )
    assert {finding.parameters["layer"] for finding in found.findings if "layer" in finding.parameters} == {"layer3"}
    classes = model.classes
    assert [record.predictions[0].name for record in found.record.inputs] == [classes[label] for label in labels[:3]]


def test_mnist_lenet5(data: Path, place: Path) -> None:
    weights = data / "vision" / "weights" / "advertorch_mnist_lenet5_clntrained.pt"
    folder = data / "vision" / "mnist"
    images = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], dtype=np.uint8)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:], dtype=np.uint8)
    images = images.reshape(-1, 28, 28)
    arch = "net.py:make('lenet')"
    model = load(weights, arch=arch, card="mnist.yaml")
    assert accuracy(model, images[:, None].astype(np.float32) / 255, labels) == pytest.approx(0.9889)

    Image.fromarray(images[0]).save("seven.png")
    assert run(["explain", str(weights), "seven.png", "--arch", arch, "--card", "mnist.yaml", "-o", "out"]) == 0
    found = open_run(place / "out")
    assert [finding.status for finding in found.findings] == ["ok"] * 3
    assert found.record.inputs[0].predictions[0].name == "7"
    assert found.findings[0].values["blank"].value is False
