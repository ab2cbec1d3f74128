"""What every corruption must keep, also one that is dropped in as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import xai.robustness.corruptions
from xai.cli.main import run as command
from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.explainers.base import explainers
from xai.measures.base import measures
from xai.models.card import Input
from xai.robustness.corruptions.base import SEVERITIES, Corruption, corruptions
from xai.runtime import Runtime

NAMES = list(corruptions.all())
FIFTEEN = {
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
FIXED = {"brightness", "contrast", "defocus_blur", "pixelate", "zoom_blur", "jpeg_compression", "scaling"}
TOY = '''
"""A toy."""

from typing import NamedTuple

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import Corruption, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Size."""

    size: float


class Toy(Corruption):
    """Shifts."""

    about = Method(name="toy", title="Toy corruption", summary="Up.", limits="All.", source="Nobody 2026",
                   kind=Kind.STATISTICAL)
    small = cifar_c(*(Strength(severity) for severity in range(5)))
    large = imagenet_c(*(Strength(severity) for severity in range(5)))

    def corrupt(self, x, how):
        return {0: x + 0.1, 1: x[:, 1:], 2: x * float("nan"), 3: x + 7, 4: x - 7}[how.row.size]
'''


def picture(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    """Return a picture with smooth parts, edges and texture, from low to high."""
    rows, columns = (torch.linspace(0, 1, size) for size in shape[-2:])
    planes = [(rows[:, None] * (3 + number)).sin() * (columns * (5 - number)).cos() for number in range(shape[0])]
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    square = ((rows[:, None] - 0.5).abs() < 0.2) & ((columns - 0.4).abs() < 0.2)
    x = torch.stack(planes) + 0.2 * noise + square
    return low + (high - low) * (x - x.min()) / (x.max() - x.min())


def corrupted(
    name: str, x: torch.Tensor, severity: int = 5, key: str = "key", seed: int = 0, **spec: object
) -> torch.Tensor:
    """Return a corrupted picture."""
    declared = Input(shape=tuple(x.shape), **spec)  # type: ignore[arg-type]  # fields by name
    return corruptions.get(name)(severity=severity).apply(x, declared, Runtime(seed=seed), key)


def test_the_fifteen_of_imagenet_c_are_the_default_and_three_more_are_there() -> None:
    assert {name for name, cls in corruptions.all().items() if cls.about.default} == FIFTEEN
    assert set(NAMES) - FIFTEEN == {"rotation", "translation", "scaling"}


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_declares_itself(name: str) -> None:
    cls = corruptions.get(name)
    assert cls.about.name == name == cls.__module__.split(".")[-1]
    assert all((cls.about.title, cls.about.summary, cls.about.limits, cls.about.source))
    assert all(field.description for field in cls.model_fields.values()), "every parameter is described"
    for table in (cls.small, cls.large):
        assert len(table.rows) == len(SEVERITIES)
        assert len(set(table.rows)) == len(SEVERITIES), "each severity is its own"
    assert name not in {*explainers.all(), *measures.all()}, "--set names either"


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_follows_from_seed_sample_and_severity_alone(name: str) -> None:
    x = picture(3, 24, 20)
    spec = Input(shape=(3, 24, 20))
    corruption = corruptions.get(name)(severity=2)
    before, state, global_state = x.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    alone = corruption.apply(x, spec, Runtime(), "b")
    others = torch.stack([x.flip(-1), x, 1 - x])
    batch = corruption.apply_all(others, spec, Runtime(), ["a", "b", "c"])
    assert torch.equal(batch[1], alone)
    assert torch.equal(corruption.apply(batch[1] * 0 + x, spec, Runtime(threads=2), "b"), alone)
    assert torch.equal(x, before)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(global_state, np.random.get_state()[1])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIXED])
def test_another_seed_or_sample_gives_another_answer(name: str) -> None:
    x = picture(3, 32, 32)
    answers = [corrupted(name, x, key=str(key), seed=seed) for key in range(4) for seed in (0, 1)]
    assert any(not torch.equal(answers[0], other) for other in answers[2::2]), "the key counts"
    assert any(not torch.equal(answers[2 * key], answers[2 * key + 1]) for key in range(4)), "the seed counts"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 7, 16])
@pytest.mark.parametrize("size", [(8, 8), (13, 40), (70, 66)])
def test_shape_type_and_range_are_kept(name: str, channels: int, size: tuple[int, int]) -> None:
    x = picture(channels, *size)
    for severity in (1, 5):
        found = corrupted(name, x, severity)
        assert found.shape == x.shape
        assert found.dtype == torch.float32
        assert found.min() >= 0
        assert found.max() <= 1
    assert not torch.equal(found, x)


# Counts of quanta are drawn by rejection: one that rounding changes moves all that follow.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "shot_noise"])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0), (-3.0, -2.5)])
def test_the_range_only_changes_the_unit(name: str, low: float, high: float) -> None:
    unit = (picture(3, 24, 20) * 255).round() / 255
    expected = corrupted(name, unit)
    found = corrupted(name, low + (high - low) * unit, range=(low, high))
    assert low <= found.min() <= found.max() <= high
    away = ((found - low) / (high - low) - expected).abs()
    # Thresholds turn rounding into whole steps, seldom.
    assert away.flatten().kthvalue(int(0.99 * away.numel())).values < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
def test_a_blank_picture_is_no_trouble(name: str, value: float) -> None:
    found = corrupted(name, torch.full((3, 16, 16), value))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_card_without_a_range_is_not_applicable(name: str) -> None:
    with pytest.raises(NotApplicableError, match=r"the card gives none: input\.range"):
        corrupted(name, picture(3, 16, 16), range=None)


def test_only_noise_happens_to_what_is_no_picture() -> None:
    x = torch.linspace(-2, 2, 50)
    for name in NAMES:
        if name.endswith("noise"):
            assert corrupted(name, x, range=(-2, 2)).shape == (50,)
            assert corruptions.get(name)().chosen(Input(shape=(50,), range=(-2, 2)))["table"] == "CIFAR-10-C"
        else:
            with pytest.raises(NotApplicableError, match=r"happens to pictures, and the model takes inputs of shape"):
                corrupted(name, x, range=(-2, 2))
            with pytest.raises(NotApplicableError, match=r"at least 8 x 8 pixels, and the model takes 7 x 30"):
                corrupted(name, picture(3, 7, 30))


def test_small_and_large_pictures_have_their_tables_and_lengths_follow_the_size() -> None:
    def chosen(*size: int) -> dict[str, object]:
        return dict(corruptions.get("motion_blur")(severity=2).chosen(Input(shape=(3, *size))))

    assert chosen(32, 32) == {"severity": 2, "table": "CIFAR-10-C", "scale of lengths": 1, "radius": 6, "sigma": 1.5}
    assert chosen(64, 99)["scale of lengths"] == 2
    assert chosen(224, 300) == {"severity": 2, "table": "ImageNet-C", "scale of lengths": 1, "radius": 15, "sigma": 5}
    assert chosen(65, 65)["table"] == "ImageNet-C"


def test_bad_input_is_refused() -> None:
    spec = Input(shape=(3, 16, 16))
    corruption = corruptions.get("fog")()
    with pytest.raises(UsageError, match=r"expected an input of shape \(3, 16, 16\), received \(3, 8, 8\)"):
        corruption.apply(torch.zeros(3, 8, 8), spec, Runtime(), "key")
    for value in (1.1, -0.1, float("nan")):
        with pytest.raises(UsageError, match=r"expected values in \[0, 1\]"):
            corruption.apply(torch.full((3, 16, 16), value), spec, Runtime(), "key")
    with pytest.raises(UsageError, match="a key for each of 2 inputs, received 1"):
        corruption.apply_all(torch.zeros(2, 3, 16, 16), spec, Runtime(), ["key"])
    for severity in (0, 6):
        with pytest.raises(ValueError, match="severity"):
            corruptions.get("fog")(severity=severity)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Corruption]:
    """Drop a corruption in as one file: into a folder of the family's own, as the tree is shared with other tests."""
    folder = tmp_path / "family"
    folder.mkdir()
    (folder / "zz_toy.py").write_text(TOY)
    package = xai.robustness.corruptions
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    return corruptions.get("toy")


def test_one_file_is_enough_and_the_base_checks_its_answer(
    toy: type[Corruption], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["methods", "toy"]) == 0
    assert "Nobody 2026" in capsys.readouterr().out
    x = picture(3, 16, 16)
    assert torch.allclose(corrupted("toy", x, 1), (x + 0.1).clamp(max=1))
    with pytest.raises(AnalysisError, match=r"expected an input of shape \(3, 16, 16\), toy returned \(3, 15, 16\)"):
        corrupted("toy", x, 2)
    with pytest.raises(AnalysisError, match="toy returned NaN or infinite values"):
        corrupted("toy", x, 3)
    assert (corrupted("toy", x, 4) == 1).all()
    assert (corrupted("toy", x, 5) == 0).all()
