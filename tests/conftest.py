"""Fixtures that many tests share."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.architectures import Loader, open_network
from tests.networks import Linear, Small, seeded
from xai.api import load
from xai.models.model import Model
from xai.models.torchvision_import import torchvision_models

torchvision_models()  # the reference packages import torchvision, which may need its cure first

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "models" / "samples" / "shapes" / "images"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden run and the schema anew")


@pytest.fixture(scope="session")
def shapes() -> Model:
    return load("sample:shapes")


@pytest.fixture(scope="session")
def digits() -> Model:
    return load("sample:digits")


@pytest.fixture(scope="session")
def linear() -> Model:
    return load(Linear(), shape=(3, 12, 10), classes=("a", "b", "c"))


@pytest.fixture(scope="session")
def small() -> Model:
    return load(seeded(Small), shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)


@pytest.fixture(scope="session")
def loaded() -> Loader:
    """Give the larger networks, each opened once."""
    return cache(open_network)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(7))


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace every network: a graph that an earlier version kept would hide a bug."""
    monkeypatch.setenv("XAI_CACHE_DIR", "off")


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real networks and pictures."""
    folder = os.environ.get("XAI_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("XAI_DATA names no folder of real networks and pictures")
    return Path(folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser; XAI_REQUIRE_BROWSER=1 forbids to go without."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("XAI_REQUIRE_BROWSER"):
            pytest.fail("XAI_REQUIRE_BROWSER is set and there is no Chromium")
        pytest.skip("there is no Chromium here")
    return path
