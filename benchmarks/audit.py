"""What an audit takes beyond its analyses: engine, records and renderings, as a share of the analyses' time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from xai.api import audit
from xai.engine.audit import parts
from xai.engine.audit import run as engine

ANALYSES = {
    parts: ("attack", "bounds", "smooth", "fit", "evaluate", "explain"),
    engine: ("calibration", "repetition", "cost"),
}
LIMIT = 0.05
POLICY = {
    "model": {"source": "sample:digits", "intended_use": "a measurement"},
    "data": {"test": "sample:digits:0-100", "calibration": "sample:digits:200-500"},
    "threat": {"epsilons": ["4/255"], "plan": "pgd"},
    "requirements": ["accuracy >= 90 %", "ood.auroc(noise) >= 0.9"],
    "explanations": {"right": 1, "wrong": 1, "least_sure": 1, "most_attacked": 1},
}


def measure(device: str) -> dict[str, Any]:
    """Audit the digits; return the seconds of its analyses, of the whole with its folder, and the share of the rest."""
    spent: list[float] = []

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                spent.append(time.perf_counter() - begun)

        return run

    with tempfile.TemporaryDirectory() as place:
        patches = [
            patch.object(home, name, timed(getattr(home, name))) for home, names in ANALYSES.items() for name in names
        ]
        for one in patches:
            one.start()
        try:
            begun = time.perf_counter()
            audit(POLICY, device=device).save(Path(place) / "run")
            whole = time.perf_counter() - begun
        finally:
            for one in patches:
                one.stop()
    analyses = sum(spent)
    return {
        "analyses, seconds": round(analyses, 2),
        "whole, seconds": round(whole, 2),
        "rest, share of the analyses": round((whole - analyses) / analyses, 4),
        "limit": LIMIT,
    }
