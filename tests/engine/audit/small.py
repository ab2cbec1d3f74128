"""Small networks, data and policies for the tests of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

import xai
from xai.data.dataset import DataSet, open_data
from xai.engine.audit.answers import Answers, Asking
from xai.engine.audit.run import Roles, audit
from xai.engine.sweep import Sweep
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store
from xai.reports.policy.reading import ReadPolicy, read_policy
from xai.reports.run import Run
from xai.runtime import Runtime

SHAPE, CLASSES = (1, 4, 5), ("ant", "bee", "cat", "dog")


class Scores(nn.Module):
    """Outputs are weighted sums; where the first pixel is exactly 0 they are not a number."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(20, 4, generator=torch.Generator().manual_seed(3)))
        self.broken = broken

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = x.flatten(1) @ self.weight
        if self.broken:
            scores = scores + torch.log(x.flatten(1)[:, :1]) * 0  # 0 gives -inf * 0
        return scores


def model_of(net: Any = None, **declared: Any) -> Model:
    given = {"shape": SHAPE, "mean": 0.0, "std": 1.0, "range": (0.0, 1.0), "classes": CLASSES, "name": "small"}
    return xai.load(Scores() if net is None else net, **{**given, **declared})


def inputs(count: int = 40, wrong: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs with labels; the model answers the first ones wrongly."""
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))
    y = Scores()(x).argmax(1)
    y[:wrong] = (y[:wrong] + 1) % 4
    return x, y


def reach(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Return how far inputs (n, ...) with the model's own answers (n,) are from another one in linf, in any range."""
    weight = Scores().weight.detach().double().numpy()
    scores, rows = x.flatten(1).double().numpy() @ weight, np.arange(len(x))
    gaps = np.abs(weight[:, y][:, :, None] - weight[:, None]).sum(0)
    own = scores[rows, y][:, None] - scores
    return np.where(gaps > 0, own / np.maximum(gaps, 1e-9), np.inf).min(1)


def data_of(model: Model, x: torch.Tensor, y: torch.Tensor | None, groups: Sequence[str | None] = ()) -> DataSet:
    data = open_data(x if y is None else (x, y), model)
    return replace(data, content=Grouped(data.content, groups)) if groups else data


class Grouped:
    """Content whose entries are of groups."""

    def __init__(self, content: Any, groups: Sequence[str | None]) -> None:
        self._content, self._groups = content, groups

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def __len__(self) -> int:
        return len(self._content)

    def group(self, index: int) -> str | None:
        return self._groups[index]


def answers_of(model: Model, data: DataSet, store: Store, size: int = 16) -> Answers:
    sweep = Sweep(model, data, Runtime(), size)
    kept = sweep.kept(None, {})
    sweep.run(Asking(model, sweep.runtime, store).shard, kept, jobs=1, stage="asking", stages=1)
    return Answers(kept, len(sweep.shards), store)


def policy_of(folder: Path, *requirements: Any, **parts: Any) -> ReadPolicy:
    """Return a policy that requires something; its model and data are given apart."""
    fields = {
        "model": {"source": "net.pt2", "intended_use": "a test"},
        "data": {"test": "data.npz"},
        "requirements": list(requirements) or ["accuracy >= 50 %"],
        **parts,
    }
    path = folder / "audit.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return read_policy(path)


def audited(
    folder: Path, *requirements: Any, model: Model | None = None, roles: Roles | None = None, **parts: Any
) -> Run:
    model = model or model_of()
    x, y = inputs()
    return audit(
        model,
        policy_of(folder, *requirements, **parts),
        roles or Roles(data_of(model, x, y)),
        runtime=Runtime(),
        store=MemoryStore(),
    )


def verdicts(run: Run) -> list[str]:
    return [one.verdict for one in run.requirements]


def numbers(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)
