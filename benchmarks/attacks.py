"""PGD beside other libraries at the same steps, with time and limit.

Needs XAI_DATA. foolbox, torchattacks and adversarial-robustness-toolbox are compared where they are installed. Nobody
starts at random, so that robust accuracies can be compared to the image. Our time is of the whole run but for opening
the model: reading, search, storing, and looking at every success again, in onnxruntime too. The limit is the passes
that our search made, times one pass of the network as it is.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

import xai
from benchmarks._published import CLEAN, ROBUST, Subject, since, subject
from xai.reports.run import Run

STEPS, STEP_SIZE, BATCH, IMAGES = 40, 0.01, 256, 1024
PGD = {CLEAN: (0.1, 0.15, 0.2, 0.3), ROBUST: (0.1, 0.3)}

Attack = Callable[[ModuleType, nn.Module, torch.Tensor, torch.Tensor, float], torch.Tensor]


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    return {
        f"PGD-{STEPS}, {STEP_SIZE} a step, {IMAGES} images": {
            f"{name}, epsilon {epsilon}": _beside_peers(subject(name, device).first(IMAGES), epsilon)
            for name, epsilons in PGD.items()
            for epsilon in epsilons
        },
    }


def _beside_peers(subject: Subject, epsilon: float) -> dict[str, Any]:
    data, parameters = (subject.x, subject.y), {"steps": STEPS, "step_size": STEP_SIZE, "random_start": False}
    begun = time.perf_counter()
    run = xai.attack(subject.model, data, attacks="pgd", eps=epsilon, parameters={"pgd": parameters}, **_BARE)
    whole = since(begun)
    ours = {
        "robust accuracy": _robust(run),
        "seconds": whole,
        "limit, seconds": _limit(subject, run),
        "passes, of all steps on all images": run["pgd"].values["backwards"].value / (STEPS * len(subject.x)),
    }
    peers = {name: _peer(name, attack, subject, epsilon) for name, attack in _PEERS.items()}
    for peer in peers.values():
        if isinstance(peer, dict):
            peer["times as long as xai"] = round(peer["seconds"] / whole, 2)
    return {"xai": ours, **peers}


_BARE: dict[str, Any] = {"examples": 0, "alarms": "none"}


def _robust(run: Run) -> float:
    found = next(value for name, value in run["robustness"].values.items() if name.startswith("robust accuracy at"))
    return float(found.value)


def _limit(subject: Subject, run: Run) -> float:
    """Return the seconds that our search's passes take, and nothing else."""
    points = subject.x[:BATCH].clone().requires_grad_()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        torch.autograd.grad(subject.network(points).sum(), points)
        seconds.append(time.perf_counter() - begun)
    return round(statistics.median(seconds) * float(run["pgd"].values["backwards"].value) / len(points), 2)


def _peer(name: str, attack: Attack, subject: Subject, epsilon: float) -> dict[str, Any] | str:
    try:
        module = importlib.import_module(name)
    except ImportError:
        return "not installed"
    begun = time.perf_counter()
    batches = zip(subject.x.split(BATCH), subject.y.split(BATCH), strict=True)
    adversarial = torch.cat([attack(module, subject.network, x, y, epsilon) for x, y in batches])
    return {"robust accuracy": _standing(subject, adversarial), "seconds": since(begun)}


def _standing(subject: Subject, adversarial: torch.Tensor) -> float:
    """Return the share of images that are right before and after."""
    with torch.no_grad():
        pairs = zip(subject.x.split(BATCH), adversarial.split(BATCH), subject.y.split(BATCH), strict=True)
        right = [(subject.network(x).argmax(1) == y) & (subject.network(worse).argmax(1) == y) for x, worse, y in pairs]
    return float(torch.cat(right).double().mean())


def _torchattacks(
    module: ModuleType, network: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float
) -> torch.Tensor:
    attack = module.PGD(network, eps=epsilon, alpha=STEP_SIZE, steps=STEPS, random_start=False)
    found: torch.Tensor = attack(x, y)
    return found


def _foolbox(module: ModuleType, network: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> torch.Tensor:
    attack = module.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS, random_start=False)
    _, clipped, _ = attack(module.PyTorchModel(network, bounds=(0, 1)), x, y, epsilons=epsilon)
    found: torch.Tensor = clipped.detach()
    return found


def _art(module: ModuleType, network: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> torch.Tensor:
    classifiers = importlib.import_module(f"{module.__name__}.estimators.classification")
    evasion = importlib.import_module(f"{module.__name__}.attacks.evasion")
    classifier = classifiers.PyTorchClassifier(network, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1))
    attack = evasion.ProjectedGradientDescent(
        classifier, eps=epsilon, eps_step=STEP_SIZE, max_iter=STEPS, num_random_init=0, batch_size=BATCH, verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


_PEERS: dict[str, Attack] = {"torchattacks": _torchattacks, "foolbox": _foolbox, "art": _art}
