"""Models of 1 to 16 channels: every method answers, and the report shows what it can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from xai.api import explain, load
from xai.explainers.base import explainers

BRIEF = {"lime": {"samples": 24, "segments": 6, "segmentation": "grid"}, "deepdream": {"iterations": 1, "octaves": 1}}


def network(channels: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        ).eval()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13, 16])
def test_every_method_and_the_report_take_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "given.npy", rng.random((channels, 16, 12)))
    np.save(tmp_path / "pixels.npy", rng.integers(0, 256, (20, 20, channels), dtype=np.uint8))
    model = load(network(channels), shape=(channels, 16, 12))
    pictures = [tmp_path / "given.npy", tmp_path / "pixels.npy"]
    run = explain(model, pictures, methods="all", measures="deletion", parameters=BRIEF)
    assert {finding.method for finding in run.findings} == {*explainers.all(), "agreement"}
    for finding in run.findings:
        if finding.status == "skipped":
            assert finding.reason == "the network's graph shows no attention"
            continue
        assert finding.status == "ok", finding.reason
        assert not [trust.reason for trust in finding.trust if trust.status == "failed"]
        if "map" in finding.artefacts:
            assert run.array(finding, "map").shape == (16, 12)
    run.save(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert ("shown is their mean" in page) == (channels not in (1, 3))
    assert "uint8 (height, width, channels) taken as pixels from 0 to 255" in page
