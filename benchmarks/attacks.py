"""Attacks: published figures on MNIST, accuracy and time beside other libraries at the same steps, the standard plan.

Needs XAI_DATA. foolbox, torchattacks, adversarial-robustness-toolbox and pyautoattack are compared where they are
installed. The limit beside a time is the passes that our search made, times one pass of the same batch.
XAI_BENCHMARK_IMAGES says how many images the long attacks get (default 200).
"""

from __future__ import annotations

import gzip
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import xai
from xai.models.model import Model
from xai.reports.run import Run

STEPS, STEP_SIZE, BATCH = 40, 0.01, 256


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


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "undefended": (LeNet5, "advertorch_mnist_lenet5_clntrained.pt"),
    "trained against attacks": (LeNet5, "advertorch_mnist_lenet5_advtrained.pt"),
    "convex adversarial": (convex_adversarial, "convexadv_mnist.pth"),
}


def measure(device: str) -> dict[str, Any]:
    data = os.environ.get("XAI_DATA")
    if not data:
        return {"reason": "XAI_DATA is not set"}
    folder = Path(data) / "vision"
    long = int(os.environ.get("XAI_BENCHMARK_IMAGES", "200"))
    x, y = _digits(folder / "mnist")
    networks = {name: _network(folder, *NETWORKS[name]) for name in NETWORKS}
    models = {
        name: xai.load(net, shape=(1, 28, 28), mean=0.0, std=1.0, device=device) for name, net in networks.items()
    }
    return {
        "published": _published(models, x, y, long),
        f"PGD-{STEPS}, {STEP_SIZE} a step": {
            name: _beside_peers(networks[name], models[name], x[:512], y[:512], 0.1)
            for name in ("undefended", "trained against attacks")
        },
        "standard plan": {
            name: _standard(networks[name], models[name], x[: long // 2], y[: long // 2], epsilon)
            for name, epsilon in (("undefended", 0.1), ("trained against attacks", 0.3))
        },
    }


def _digits(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = np.frombuffer(images, dtype=np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(x), torch.from_numpy(np.frombuffer(labels, dtype=np.uint8).astype(np.int64))


def _network(folder: Path, make: Callable[[], nn.Module], name: str) -> nn.Module:
    state = torch.load(folder / "weights" / name, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    state = state[0] if isinstance(state, list) else state
    network = make()
    network.load_state_dict(state)
    return network.eval()


def _attacked(model: Model, x: torch.Tensor, y: torch.Tensor, **options: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    run = xai.attack(model, (x, y), examples=0, alarms="none", **options)
    values = run["robustness"].values
    shares = {name: value.value for name, value in values.items() if "accuracy" in name or "median" in name}
    return {"images": len(x), **shares, "not confirmed": values["not confirmed"].value, "seconds": _since(begun)}


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 2)


def _published(models: dict[str, Model], x: torch.Tensor, y: torch.Tensor, long: int) -> dict[str, Any]:
    plain = {"pgd": {"steps": STEPS, "step_size": STEP_SIZE, "random_start": False}}
    clean, robust, convex = models.values()
    found = {
        "LeNet5 clean: 98.89 %; FGSM .1: 79.96 %": _attacked(clean, x, y, attacks="fgsm", eps=0.1),
        "LeNet5 adv: 98.64 %; PGD-40 .3: error 6.73 %": _attacked(
            robust, x, y, attacks="pgd", eps=0.3, parameters=plain
        ),
        "convex adversarial: error 1.8 %; FGSM .1: error 3.9 %": _attacked(convex, x, y, attacks="fgsm", eps=0.1),
        "convex adversarial: PGD-40 .1: error 4.06 %": _attacked(
            convex, x, y, attacks="pgd", eps=0.1, parameters=plain
        ),
    }
    for name, model, ddn, linf, l2 in (("clean", clean, 1.388, 0.112, 1.423), ("adv", robust, 1.872, 0.3509, 3.04)):
        thousand = {"ddn": {"steps": 1000}}
        some = x[: long // 2], y[: long // 2]
        found[f"LeNet5 {name}: DDN-1000 l2 median {ddn}"] = _attacked(
            model, x[:long], y[:long], attacks="ddn", norm="l2", parameters=thousand
        )
        found[f"LeNet5 {name}: FAB linf median {linf}"] = _attacked(model, *some, attacks="fab-t", norm="linf")
        found[f"LeNet5 {name}: FAB l2 median {l2}"] = _attacked(model, *some, attacks="fab-t", norm="l2")
    return found


def _beside_peers(network: nn.Module, model: Model, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> dict[str, Any]:
    parameters = {"pgd": {"steps": STEPS, "step_size": STEP_SIZE}}
    begun = time.perf_counter()
    run = xai.attack(model, (x, y), attacks="pgd", eps=epsilon, parameters=parameters, examples=0, alarms="none")
    whole = _since(begun)
    found: dict[str, Any] = {"xai": _ours(run, epsilon, whole), "limit, seconds": _limit(network, run, x)}
    for name, attack in (("torchattacks", _torchattacks), ("foolbox", _foolbox), ("art", _art)):
        try:
            module = importlib.import_module(name)
        except ImportError:
            found[name] = "not installed"
            continue
        begun = time.perf_counter()
        adversarial = torch.cat([attack(module, network, *batch, epsilon) for batch in _batches(x, y)])
        seconds = _since(begun)
        with torch.no_grad():
            right = (network(adversarial).argmax(1) == y) & (network(x).argmax(1) == y)
        found[name] = {"robust accuracy": float(right.double().mean()), "seconds": seconds}
        found[name]["times as long as xai, confirmation included"] = round(seconds / whole, 2)
    return found


def _ours(run: Run, epsilon: float, whole: float) -> dict[str, Any]:
    search = run["pgd"]
    return {
        "robust accuracy": run["robustness"].values[f"robust accuracy at {epsilon}"].value,
        "seconds with confirmation": whole,
        "seconds of the search, summed over jobs": round(search.record.seconds, 2),
        "forwards": search.values["forwards"].value,
        "backwards": search.values["backwards"].value,
    }


def _limit(network: nn.Module, run: Run, x: torch.Tensor) -> float:
    """Return the seconds that our search's passes take, and nothing else."""
    points = x[:BATCH].clone().requires_grad_()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        torch.autograd.grad(network(points).sum(), points)
        seconds.append(time.perf_counter() - begun)
    passes = run["pgd"].values["backwards"].value
    return round(float(np.median(seconds)) * float(passes or 0) / len(points), 2)


def _batches(x: torch.Tensor, y: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(x.split(BATCH), y.split(BATCH), strict=True))


def _torchattacks(module: Any, network: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> torch.Tensor:
    found: torch.Tensor = module.PGD(network, eps=epsilon, alpha=STEP_SIZE, steps=STEPS)(x, y)
    return found


def _foolbox(module: Any, network: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> torch.Tensor:
    attack = module.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS)
    _, clipped, _ = attack(module.PyTorchModel(network, bounds=(0, 1)), x, y, epsilons=epsilon)
    return clipped.detach()


def _art(module: Any, network: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> torch.Tensor:
    classifiers = importlib.import_module(f"{module.__name__}.estimators.classification")
    attacks = importlib.import_module(f"{module.__name__}.attacks.evasion")
    classifier = classifiers.PyTorchClassifier(network, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1))
    attack = attacks.ProjectedGradientDescent(
        classifier, eps=epsilon, eps_step=STEP_SIZE, max_iter=STEPS, num_random_init=1, batch_size=BATCH, verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def _standard(network: nn.Module, model: Model, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> dict[str, Any]:
    found = {"xai": _attacked(model, x, y, plan="standard", eps=epsilon)}
    try:
        module = importlib.import_module("pyautoattack")
    except ImportError:
        return {**found, "pyautoattack": "not installed"}
    begun = time.perf_counter()
    adversary = module.AutoAttack(network, norm="Linf", eps=epsilon, version="standard", seed=0)
    adversarial = adversary.run_standard_evaluation(x, y, bs=BATCH)
    with torch.no_grad():
        robust = float((network(adversarial).argmax(1) == y).double().mean())
    return {**found, "pyautoattack": {"robust accuracy": robust, "seconds": _since(begun)}}
