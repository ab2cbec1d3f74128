"""What every explainer must keep, also one that is dropped in as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import xai.explainers
from tests.architectures import ARCHITECTURES, SIDE, Loader
from tests.networks import Dead, seeded
from xai.api import explain, load
from xai.cli.main import run as command
from xai.explainers.base import Attributor, explainers
from xai.models.model import Model
from xai.registry import Kind, Need
from xai.reports.run import Found

BRIEF = {
    "occlusion": {"window": 112, "stride": 112},
    "lime": {"samples": 30, "segmentation": "grid", "segments": 4},
    "kernelshap": {"samples": 30, "segmentation": "grid", "segments": 9},
    "rise": {"samples": 30, "cells": 3},
    "deepdream": {"octaves": 2, "iterations": 3},
    "featurevisualization": {"count": 2, "iterations": 4},
    "scorecam": {"channels": 4},
    "ablationcam": {"channels": 4},
    "smoothgrad": {"samples": 2},
    "integratedgradients": {"most_steps": 16},
    "gradientshap": {"samples": 2},
}
CNNS = ("resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny")
BEYOND = {  # what a method says of networks that it has no answer for, whatever the picture
    **{("attentionrollout", name): "the network's graph shows no attention" for name in CNNS},
    ("attentionrollout", "swin_t"): "attention 'softmax' is not from all patches",
}
FOR_CNNS = [name for name in explainers.all() if (name, CNNS[0]) not in BEYOND]
ATTRIBUTORS = [name for name, cls in explainers.all().items() if issubclass(cls, Attributor) and name in FOR_CNNS]
BY_TARGET = [name for name in ATTRIBUTORS if explainers.get(name)().about_target()]
TOY = '''
"""A toy."""

import torch
from pydantic import Field

from xai.explainers.base import Attribution, Attributor
from xai.registry import Kind, Method


class Toy(Attributor):
    """Brightness."""

    about = Method(name="toy", title="Toy map", summary="Bright is bright.", limits="Everything.", source="Nobody 2026",
                   kind=Kind.HEURISTIC)
    signed = False
    unit = "brightness"

    gain: float = Field(default=1.0, gt=0, description="factor")

    def attribute(self, model, x, targets, runtime):
        return [Attribution(self.gain * x.mean(0), chosen={"looked at": "pixels"}) for _ in targets]
'''


def answered(found: Found) -> np.ndarray:
    """Return what a method found: a map, a picture or several."""
    return next(getattr(found, name) for name in ("map", "picture", "pictures") if name in found.record.artefacts)


@pytest.mark.parametrize("name", explainers.all())
def test_a_method_declares_itself(name: str) -> None:
    cls = explainers.get(name)
    assert cls.about.name == name
    assert all((cls.about.title, cls.about.summary, cls.about.limits, cls.about.source))
    assert getattr(cls, "unit", "none"), "a map has a unit"
    assert isinstance(cls.about.kind, Kind)
    assert all(field.description for field in cls.model_fields.values()), "every parameter is described"


@pytest.mark.parametrize("name", FOR_CNNS)
def test_the_same_seed_gives_the_same_map_and_state_is_restored(name: str, small: Model, noise: torch.Tensor) -> None:
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in small.graph.module.state_dict().items()}
    first, second = (explain(small, noise, methods=[name], measures="none", seed=5)[name] for _ in range(2))
    answer, again = map(answered, (first, second))
    assert np.array_equal(answer, again)
    assert answer.dtype == np.float32
    assert answer.shape[-2:] == (16, 16)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in small.graph.module.state_dict().items())
    assert not any(parameter.grad is not None for parameter in small.graph.module.parameters())


def test_ids_are_unique_whatever_the_names(small: Model, tmp_path: Path) -> None:
    from PIL import Image

    names = ["a.png", "b/a.png", "a-2.png", "c/a.png"]
    for index, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (index * 50, 0, 0)).save(tmp_path / name)
    run = explain(small, [tmp_path / name for name in names], methods=["gradcam"])
    ids = [record.id for record in run.record.inputs]
    assert ids == ["a", "a-2", "a-2-2", "a-3"]
    assert len({finding.id for finding in run.findings}) == 4


@pytest.mark.parametrize("name", ATTRIBUTORS)
def test_the_order_of_pictures_does_not_matter(name: str, small: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand((3, 16, 16), generator=generator) for _ in range(2)]
    forth = [found.map for found in explain(small, pictures, methods=name, measures="none")]
    back = [found.map for found in explain(small, pictures[::-1], methods=name, measures="none")]
    for one, other in zip(forth, reversed(back), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", BY_TARGET)
def test_several_targets_get_what_each_gets_alone(name: str, small: Model, noise: torch.Tensor) -> None:
    run = explain(small, noise, methods=name, measures="none", top=3)
    order = [prediction.name for prediction in run.record.inputs[0].predictions[:3]]
    assert [finding.target.name for finding in run.findings] == order
    for target in order:
        alone = explain(small, noise, methods=name, measures="none", target=target)[name]
        np.testing.assert_allclose(run[name, "image", target].map, alone.map, atol=1e-6)


@pytest.mark.parametrize("name", explainers.all())
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_explainer_answers_on_every_architecture(name: str, architecture: str, loaded: Loader) -> None:
    x = torch.rand((3, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    run = explain(loaded(architecture), x, methods=name, measures="none", parameters={name: BRIEF.get(name, {})})
    (found,) = run
    if (name, architecture) in BEYOND:
        assert found.record.status == "skipped"
        assert found.record.reason.startswith(BEYOND[name, architecture])
        return
    assert found.record.status == "ok", found.record.reason
    if "map" in found.record.artefacts:
        assert found.record.values["blank"].value is False
        assert found.map.shape == (SIDE, SIDE)
    elif "pictures" in found.record.artefacts:
        assert found.record.values["rose"].value == 2
        assert found.pictures.shape == (2, 3, SIDE, SIDE)
    else:
        assert found.record.values["rose"].value is True
        assert found.picture.shape == (3, SIDE, SIDE)


@pytest.mark.parametrize("name", [name for name in ATTRIBUTORS if Need.GRADIENTS in explainers.get(name).about.needs])
def test_a_dead_network_gives_a_blank_map_that_is_said(name: str, noise: torch.Tensor) -> None:
    found = explain(load(seeded(Dead), shape=(3, 16, 16)), noise, methods=name, measures="none")[name]
    assert found.record.status == "ok"
    assert not found.map.any()
    assert found.record.values["blank"].value is True
    assert "The map is blank" in found.record.notes[-1]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop a method in as one file: into a folder of the family's own, as the tree is shared with other tests."""
    folder = tmp_path / "family"
    folder.mkdir()
    (folder / "zz_toy.py").write_text(TOY)
    monkeypatch.setattr(xai.explainers, "__path__", [*xai.explainers.__path__, str(folder)])


@pytest.mark.usefixtures("toy")
def test_a_method_dropped_in_as_one_file_is_found_everywhere(
    small: Model, noise: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explain(small, noise, methods=["toy"], parameters={"toy": {"gain": 2}})["toy"]
    np.testing.assert_allclose(found.map, 2 * noise.mean(0).numpy(), rtol=1e-6)

    assert command(["methods"]) == 0
    assert "toy" in capsys.readouterr().out
    folder = tmp_path / "run"
    arguments = [
        "explain",
        "sample:shapes",
        "sample:shapes",
        "--methods",
        "toy",
        "--set",
        "toy.gain=3",
        "-o",
        str(folder),
    ]
    assert command(arguments) == 0
    page = (folder / "report.html").read_text()
    assert "Toy map" in page
    assert "brightness" in page
    assert "Nobody 2026" in page
