"""The standard plan beside pyautoattack, image by image. Needs XAI_DATA, and pyautoattack where it is installed."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

import torch

import xai
from benchmarks._published import CIFAR, CLEAN, ROBUST, Subject, since, subject

SUBJECTS = {CLEAN: ("linf", 0.1, 100), CIFAR: ("linf", 0.5 / 255, 50), ROBUST: ("linf", 0.3, 100)}
BATCH = 250


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    return {
        f"{name}, {norm} {epsilon:.3g}, {count} images": _beside(subject(name, device).first(count), norm, epsilon)
        for name, (norm, epsilon, count) in SUBJECTS.items()
    }


def _beside(subject: Subject, norm: str, epsilon: float) -> dict[str, Any]:
    begun = time.perf_counter()
    data = subject.x, subject.y
    run = xai.attack(subject.model, data, plan="standard", norm=norm, eps=epsilon, examples=0, alarms="none")
    found = next(value for name, value in run["robustness"].values.items() if name.startswith("robust accuracy at"))
    ours = {"robust accuracy": found.value, "seconds": since(begun)}
    try:
        module = importlib.import_module("pyautoattack")
    except ImportError:
        return {"xai": ours, "pyautoattack": "not installed"}
    begun = time.perf_counter()
    adversary = module.AutoAttack(subject.network, norm=norm.capitalize(), eps=epsilon, version="standard", seed=0)
    adversarial = adversary.run_standard_evaluation(subject.x, subject.y, batch_size=BATCH)[0]
    seconds = since(begun)
    with torch.no_grad():
        right = subject.network(adversarial).argmax(1) == subject.y
    return {"xai": ours, "pyautoattack": {"robust accuracy": float(right.double().mean()), "seconds": seconds}}
