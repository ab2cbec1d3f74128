"""Attacks on published networks: figures that others measured, beside ours, on the MNIST test set.

Needs XAI_DATA. Figures at an epsilon are of all 10 000 images; so are the medians of DDN if XAI_BENCHMARK_IMAGES says
10000, otherwise they are of as many as it says (default 500). FAB gets a fifth of that.
"""

from __future__ import annotations

import os
from typing import Any

import xai
from benchmarks._published import CLEAN, CONVEX, ROBUST, Subject, subject

MINIMA = ((CLEAN, 1.388, 0.112, 1.423), (ROBUST, 1.872, 0.3509, 3.04))


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    long = int(os.environ.get("XAI_BENCHMARK_IMAGES", "500"))
    subjects = {name: subject(name, device) for name in (CLEAN, ROBUST, CONVEX)}
    plain = {"pgd": {"steps": 40, "step_size": 0.01, "random_start": False}}
    found = {
        "LeNet5: accuracy 98.89 %, after FGSM .1 79.96 %": _attacked(subjects[CLEAN], attacks="fgsm", eps=0.1),
        "LeNet5 trained against attacks: accuracy 98.64 %, after PGD-40 .3 93.27 % (6.8 % error published)": _attacked(
            subjects[ROBUST], attacks="pgd", eps=0.3, parameters=plain
        ),
        "convex adversarial: accuracy 98.2 %, after FGSM .1 96.1 %": _attacked(
            subjects[CONVEX], attacks="fgsm", eps=0.1
        ),
        "convex adversarial: after PGD-40 .1 95.94 % (4.1 % error published)": _attacked(
            subjects[CONVEX], attacks="pgd", eps=0.1, parameters=plain
        ),
    }
    for name, ddn, linf, l2 in MINIMA:
        many, some = subjects[name].first(long), subjects[name].first(long // 5)
        thousand = {"ddn": {"steps": 1000}}
        found[f"{name}: DDN-1000, l2, median {ddn}"] = _attacked(many, attacks="ddn", norm="l2", parameters=thousand)
        found[f"{name}: FAB, linf, median {linf}"] = _attacked(some, attacks="fab-t", norm="linf")
        found[f"{name}: FAB, l2, median {l2}"] = _attacked(some, attacks="fab-t", norm="l2")
    return found


def _attacked(subject: Subject, **options: Any) -> dict[str, Any]:
    run = xai.attack(subject.model, (subject.x, subject.y), examples=0, alarms="none", **options)
    values = run["robustness"].values
    shares = {name: value.value for name, value in values.items() if "accuracy" in name or "median" in name}
    return {"images": len(subject.x), **shares, "not confirmed": values["not confirmed"].value}
