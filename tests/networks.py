"""Networks with known answers, and small ones of every kind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Linear(nn.Module):
    """Outputs are weighted sums of the pixels: every attribution has a closed form."""

    def __init__(self, shape: tuple[int, int, int] = (3, 12, 10), classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn((classes, *shape), generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)


class Small(nn.Module):
    """A CNN with in-place activations and a module that is used twice."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = self.act(self.again(x)) + x
        x = self.act(self.again(x))
        return self.head(self.pool(x).flatten(1))


class Mlp(nn.Module):
    """No layer has rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * 12 * 10, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(x.flatten(1))))


class Branching(nn.Module):
    """Decides by its data: torch.export cannot follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) if x.sum() > 0 else self.inner(-x)


class BranchingTuple(Branching):
    """Cannot be exported, and returns two tensors."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return super().forward(x), x


class Tuple(nn.Module):
    """Returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner(x), x


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return a network with seeded weights and used running statistics, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def cnn() -> nn.Module:
    """A CNN of modules that are used once, with biases, as the reference packages need it."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
        nn.ReLU(),
        nn.Linear(10, 4),
    )


class Smooth(nn.Module):
    """A network without kinks: its gradient differs from place to place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(3 * self.conv(x)).mean((2, 3)).sigmoid() * 4)


class Dead(nn.Module):
    """Nothing of its outputs follows from the input's numbers but through rectifiers that never open."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv.bias.data.fill_(-100.0)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))
