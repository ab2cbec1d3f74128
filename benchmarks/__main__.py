"""Run the benchmarks and keep their figures: python -m benchmarks [NAME...] [--device cpu|cuda]."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import platform
from pathlib import Path

import torch

import benchmarks

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    names = [entry.name for entry in pkgutil.iter_modules(benchmarks.__path__) if not entry.name.startswith("_")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    for name in options.names or names:
        figures = importlib.import_module(f"benchmarks.{name}").measure(options.device)
        where = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"{name}-{options.device}.json"
        file.write_text(json.dumps({"where": where, **figures}, indent=1) + "\n")
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
