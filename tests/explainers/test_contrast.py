"""Why one class rather than another: the target is the difference of two outputs, whatever explains it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import IMAGES
from tests.networks import Linear, Small, seeded
from xai.api import explain, load
from xai.cli.main import run as command
from xai.errors import UsageError
from xai.explainers.base import Attributor, explainers
from xai.measures.base import measures
from xai.models.model import Model
from xai.models.targets import Target
from xai.reports.folder import open_run

BRIEF = {
    "lime": {"samples": 64, "segmentation": "grid", "segments": 4},
    "deepdream": {"octaves": 2, "iterations": 3},
}
ATTRIBUTORS = [name for name, cls in explainers.all().items() if issubclass(cls, Attributor) and cls().about_target()]
ATTRIBUTORS.remove("finercam")  # of one output it makes nothing; see its own tests


class Difference(nn.Module):
    """The first output of a network less another one, and nothing else."""

    def __init__(self, network: nn.Module, index: int, against: int) -> None:
        super().__init__()
        self.network, self.index, self.against = network, index, against

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.network(x)
        return outputs[:, self.index : self.index + 1] - outputs[:, self.against : self.against + 1]


def test_a_target_is_the_difference_of_two_outputs() -> None:
    outputs = torch.tensor([[1.0, 5.0, 2.5], [0.0, -1.0, 4.0]])
    target = Target(1, "cat", Target(2, "dog"))
    assert target(outputs).tolist() == [2.5, -5.0]
    assert target.name == "cat rather than dog"
    assert target.key == "1-2"
    assert target.moved(-1)(outputs).tolist() == [-4.0, 1.0]
    assert Target(1, "cat").key == "1"


@pytest.mark.parametrize("name", ATTRIBUTORS)
def test_a_contrast_is_explained_like_the_difference_itself(name: str, noise: torch.Tensor) -> None:
    parameters = {name: BRIEF.get(name, {})}
    model = load(seeded(Small), shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    own = explain(model, noise, methods=name, measures="none", target=1, against=3, parameters=parameters)[name]
    network = Difference(seeded(Small), 1, 3)
    other = load(network, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    layers = {"layer": f"network.{own.record.parameters['layer']}"} if "layer" in own.record.parameters else {}
    wanted = explain(other, noise, methods=name, measures="none", parameters={name: {**parameters[name], **layers}})
    np.testing.assert_allclose(own.map, wanted[name].map, atol=1e-5)
    assert own.record.id == f"{name}/image/1-3"


def test_a_dream_of_a_contrast_raises_the_difference(linear: Model) -> None:
    x = torch.rand(3, 12, 10)
    found = explain(
        linear, x, methods="deepdream", target="a", against="c", parameters={"deepdream": {"iterations": 2}}
    )
    values, dream = found["deepdream"].record.values, found["deepdream"]
    outputs = linear(torch.from_numpy(dream.picture)[None])[0]
    assert values["raised"].value == "output for a rather than c"
    assert values["target's output"].value == pytest.approx(float(outputs[0] - outputs[2]), rel=1e-4)
    assert values["end"].value > values["start"].value


@pytest.mark.parametrize("word", ["next", "runner-up"])
def test_the_highest_other_output_of_each_input(linear: Model, word: str) -> None:
    pictures = [torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    run = explain(linear, pictures, methods="occlusion", measures="none", against=word)
    for picture, finding in zip(pictures, run.findings, strict=True):
        first, second = linear(picture[None])[0].topk(2).indices.tolist()
        assert (finding.target.index, finding.target.against) == (first, second)
    for finding in explain(linear, pictures, methods="occlusion", measures="none", target="b", against=word).findings:
        assert finding.target.index == 1
        assert finding.target.against in (0, 2)


def test_a_class_called_next_is_that_class(noise: torch.Tensor) -> None:
    model = load(Linear((3, 16, 16)), shape=(3, 16, 16), classes=("a", "b", "next"))
    found = explain(model, noise, methods="occlusion", measures="none", target="a", against="next")["occlusion"]
    assert found.record.target.against == 2


def test_every_measure_judges_the_contrast(small: Model, noise: torch.Tensor) -> None:
    found = explain(small, noise, methods="gradcam", measures="all", target=2, against=0)["gradcam"].record
    by = {trust.measure: trust for trust in found.trust}
    assert {trust.status for name, trust in by.items() if name != "pointing"} == {"ok"}
    assert set(by) == set(measures.all())
    outputs = small(noise[None])[0]
    difference = float(outputs[2] - outputs[0])
    assert by["deletion"].values["whole picture"].value == pytest.approx(difference, abs=1e-5)


def test_where_the_model_answers_the_other_class_there_is_nothing_to_explain(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    said = int(linear(x[None])[0].argmax())
    (found,) = explain(linear, x, methods="occlusion", against=said).findings
    assert found.status == "skipped"
    assert found.reason == f"the model answers {'abc'[said]} itself, and nothing stands against that; name a target"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "a", "against": "a"}, "target and against are both 'a': give another class, or 'next'"),
        ({"target": 2, "against": "c"}, "both 'c'"),
        ({"against": "d"}, "no class 'd'"),
        ({"against": 3}, "there is no class 3"),
        ({"against": "a", "top": 2}, "name one of them"),
    ],
)
def test_what_cannot_stand_against_is_refused(linear: Model, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explain(linear, torch.rand(3, 12, 10), **options)


def test_one_output_has_none_against_it() -> None:
    model = load(Linear(classes=1), shape=(3, 12, 10), classes=("tumour",))
    with pytest.raises(UsageError, match="the model has one output, 'tumour'"):
        explain(model, torch.rand(3, 12, 10), against="next")


def test_the_command_line_the_report_and_the_call_say_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shapes: Model
) -> None:
    folder = str(tmp_path / "out")
    arguments = ["explain", "sample:shapes", str(IMAGES / "star.png"), "--methods", "gradcam,occlusion"]
    assert command([*arguments, "--target", "star", "--against", "cross", "-o", folder]) == 0
    run = open_run(Path(folder))
    assert "--target star --against cross" in run.record.command
    page = (tmp_path / "out" / "report.html").read_text()
    assert "red speaks for star rather than cross" in page
    index, against = run.findings[0].target.index, run.findings[0].target.against
    assert f"(output {index} less output {against})" in page
    assert command(["check", folder]) == 0
    again = explain(shapes, IMAGES / "star.png", methods=["gradcam", "occlusion"], target="star", against="cross")
    assert [one.timeless() for one in again.findings] == [one.timeless() for one in run.findings]
    assert "against='cross'" in again.record.command
    np.testing.assert_array_equal(again["gradcam", "star", "star rather than cross"].map, again["gradcam"].map)
    assert command([*arguments, "--target", "star", "--against", "star", "-o", folder]) == 2
    assert "target and against are both 'star'" in capsys.readouterr().err
