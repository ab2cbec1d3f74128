"""What does not fit is refused before it is begun, with a figure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xai
from xai.robustness.bounds import limits
from xai.robustness.bounds.limits import TooLargeError
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm

NET = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def bounding(method: str, **options: float) -> Bounding:
    model = xai.load(NET, example=torch.rand(1, 1, 4, 4))
    return Bounding(model, bounders.get(method)(), **options)  # type: ignore[arg-type]  # work is a number


def test_work_beyond_the_limit_is_refused_with_an_estimate() -> None:
    x = torch.rand(1, 1, 4, 4)
    linear = 64 * 17 + 64 * 65 + 3 * 65
    crown = bounding("crown", work=linear)
    with pytest.raises(TooLargeError, match=r"CROWN would take up to \de\+0\d multiply-adds .* crown-ibp or ibp takes"):
        crown.outputs(crown.inputs(x, Norm.LINF, 0.1))
    enough = bounding("crown", work=1e8)
    assert enough.outputs(enough.inputs(x, Norm.LINF, 0.1)).lower.shape == (1, 3)


def test_memory_beyond_what_is_free_is_refused_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "free_bytes", lambda: 2**14)
    crown = bounding("crown")
    with pytest.raises(TooLargeError, match=r"CROWN for 7 inputs would take about .* GiB, and .* GiB are free"):
        crown.outputs(crown.inputs(torch.rand(7, 1, 4, 4), Norm.LINF, 0.1))


def test_the_free_memory_of_this_machine_is_known() -> None:
    assert 2**24 < limits.free_bytes() < 2**50
