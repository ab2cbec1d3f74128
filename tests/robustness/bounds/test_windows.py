"""Windows save work and change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.robustness.bounds.nets import box_of, lowered, output_bounds
from xai.robustness.bounds import analysis as subject
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.elementwise import Rectifier
from xai.robustness.bounds.rounding import Arithmetic, Rounding


class Net(nn.Module):
    """Strides, padding, dilation, groups, a branch that ends early, numbers moved, means that windows cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.norm, self.short = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.three, self.four = nn.Conv2d(4, 6, (3, 2), stride=(2, 1)), nn.Conv2d(12, 3, 3, padding=1)
        self.five = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(x).relu()
        both = (self.norm(self.two(one)) - self.short(one)).relu()
        three = self.three(torch.max_pool2d(both, 3, stride=1, padding=1)).relu()
        moved = F.pad(torch.cat((three, three.flip(2)), 1)[:, :, ::2], (1, 0, 0, 1), value=0.3)
        means = F.avg_pool2d(self.four(moved).relu(), 2, 1)
        return self.head(self.five(means).relu()[:, :, 1, 1])  # type: ignore[no-any-return]  # modules are untyped


@pytest.mark.parametrize("samples", [1, 2])
def test_boxes_are_those_of_whole_maps(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    _, steps = lowered(Net(), (2, 15, 17))
    inputs = box_of(torch.rand(samples, 2, 15, 17), 0.2)
    found = []
    for windows in (True, False):
        if not windows:
            monkeypatch.setattr(subject, "is_map", lambda _: False)
        analysis = Analysis(steps.steps, inputs, Rounding(Arithmetic.REAL, torch.float64))
        with torch.no_grad():
            analysis.spread(steps.output, analysis.lowest)
        found.append(analysis.boxes)
    for index, box in found[0].items():
        torch.testing.assert_close(box.lower, found[1][index].lower, rtol=0, atol=1e-9)
        torch.testing.assert_close(box.upper, found[1][index].upper, rtol=0, atol=1e-9)


def test_windows_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = subject.back
    monkeypatch.setattr(subject, "back", lambda *a: seen.append(a[2].window) or real(*a))
    _, steps = lowered(Net(), (2, 40, 40))
    analysis = Analysis(steps.steps, box_of(torch.rand(1, 2, 40, 40), 0.2), Rounding(Arithmetic.REAL, torch.float64))
    with torch.no_grad():
        analysis.spread(steps.output, analysis.lowest)
    assert min(window.bottom - window.top for window in seen) < 10


def test_leaving_out_what_was_bounded_before_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2)]
    _, steps = lowered(nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 4)), (1, 12, 12))
    inputs = box_of(torch.rand(1, 1, 12, 12), 0.05)
    found = output_bounds(steps, inputs)
    monkeypatch.setattr(Rectifier, "exact_on_boxes", False)
    again = output_bounds(steps, inputs)
    torch.testing.assert_close(found.lower, again.lower, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.upper, again.upper, rtol=0, atol=1e-9)
