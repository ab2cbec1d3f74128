"""Memory of `xai attack` by the number of images: the peak of a process that attacks so many of the same digits.

Labels are given, alarms and examples left out, everything that is found is stored. The largest run holds thirty times
as many images as the smallest; flat means that the peak hardly grows by what these images take themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from xai.reports.folder import RECORD
from xai.reports.records import RunRecord

IMAGES = (1_000, 10_000, 30_000)

_PROGRAM = """
import json, resource, sys, torch, xai
from xai.cli.main import run
torch.set_num_threads(1)
code = run(sys.argv[1:])
print(json.dumps({"exit": code, "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)}))
"""


def measure(device: str) -> dict[str, Any]:
    from xai.models.samples import digits

    test = digits.split()[1]
    with tempfile.TemporaryDirectory() as folder:
        return {f"{count} images": _peak(Path(folder), count, test.images, test.labels, device) for count in IMAGES}


def _peak(folder: Path, count: int, images: Any, labels: Any, device: str) -> dict[str, Any]:
    rows = np.arange(count) % len(images)
    x, y = images.numpy()[rows], labels.numpy()[rows]
    np.savez(folder / "data.npz", x=x, y=y)
    command = ["attack", "sample:digits", str(folder / "data.npz"), "--attack", "fgsm,pgd", "--eps", "0.05,0.1"]
    more = ["--alarms", "none", "--examples", "0", "-o", str(folder / str(count)), "--device", device]
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *command, *more], capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    record = RunRecord.model_validate_json((folder / str(count) / RECORD).read_text())
    robust = record.findings[0].values["robust accuracy at 0.1"].value
    return {**said, "input MiB": round(x.nbytes / 2**20, 1), "robust accuracy at 0.1": robust}
