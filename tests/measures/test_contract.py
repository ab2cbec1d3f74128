"""What every measure must keep, also one that is dropped in as a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import xai.measures
from tests.conftest import IMAGES
from xai.api import explain
from xai.cli.main import run as command
from xai.errors import UsageError
from xai.explainers.base import explainers
from xai.measures.base import measures
from xai.models.model import Model
from xai.registry import Kind

TOY = '''
"""A toy."""

from pydantic import Field

from xai.measures.base import Judgement, Measure
from xai.registry import Kind, Method
from xai.reports.records import Value


class Toy(Measure):
    """Size."""

    about = Method(name="toy", title="Toy measure", summary="Large is large.", limits="Nothing.", source="Nobody 2026",
                   kind=Kind.EXACT)

    gain: float = Field(default=1.0, gt=0, description="factor")

    def judge(self, subject, runtime):
        size = float(self.gain * subject.map.size)
        return Judgement(f"The map has {size:g} pixels.", "for", {"pixels": Value(value=size)})
'''


@pytest.mark.parametrize("name", measures.all())
def test_a_measure_declares_itself(name: str) -> None:
    cls = measures.get(name)
    assert cls.about.name == name
    assert all((cls.about.title, cls.about.summary, cls.about.limits, cls.about.source))
    assert isinstance(cls.about.kind, Kind)
    assert all(field.description for field in cls.model_fields.values()), "every parameter is described"


def test_names_of_methods_and_measures_differ() -> None:
    assert not set(measures.all()) & set(explainers.all()), "--set names either"


@pytest.mark.parametrize("name", measures.all())
def test_the_same_seed_gives_the_same_judgement_and_nothing_is_changed(name: str, shapes: Model) -> None:
    state = torch.get_rng_state()
    weights = {key: tensor.clone() for key, tensor in shapes.graph.module.state_dict().items()}
    first, again = (
        explain(shapes, IMAGES / "star.png", methods="gradcam", measures=name, seed=4)["gradcam"].record.timeless()
        for _ in range(2)
    )
    assert first.trust == again.trust
    (trust,) = first.trust
    assert trust.status == "ok", trust.reason
    assert trust.measure == name
    assert trust.sentence.endswith(".")
    assert all(value.value is not None for value in trust.values.values())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, weights[key]) for key, tensor in shapes.graph.module.state_dict().items())


@pytest.mark.parametrize("name", measures.all())
def test_a_blank_map_is_not_judged(name: str, shapes: Model) -> None:
    blank = torch.full((3, 64, 64), 0.5)
    found = explain(shapes, blank, methods="occlusion", measures=name, parameters={"occlusion": {"fill": 0.5}})
    (trust,) = found["occlusion"].record.trust
    assert (trust.status, trust.reason) == ("skipped", "the map is blank")


def test_measures_are_chosen_by_name(shapes: Model) -> None:
    def judged(**options: object) -> list[str]:
        found = explain(shapes, IMAGES / "star.png", methods="gradcam", **options)  # type: ignore[arg-type]
        return [trust.measure for trust in found["gradcam"].record.trust]

    assert judged(measures="none") == []
    assert judged(measures="all") == list(measures.all())
    assert judged() == [name for name, cls in measures.all().items() if cls.about.default]
    assert judged(measures=["cascade", "deletion"]) == ["cascade", "deletion"]
    with pytest.raises(UsageError, match="no measure 'deletoin'; did you mean 'deletion'"):
        judged(measures=["deletoin"])
    with pytest.raises(UsageError, match="parameters were given for cascade, which is not among those chosen"):
        judged(measures="deletion", parameters={"cascade": {"draws": 1}})
    with pytest.raises(UsageError, match=r"deletion.fill is 7; expected a value in \[0, 1\]"):
        judged(parameters={"deletion": {"fill": 7}})
    with pytest.raises(UsageError, match="randomisation do not fit: draws"):
        judged(parameters={"randomisation": {"draws": 9}})


@pytest.fixture
def toy() -> Iterator[None]:
    """Drop a measure in as one file."""
    file = Path(xai.measures.__path__[0]) / "zz_toy.py"
    file.write_text(TOY)
    try:
        yield
    finally:
        file.unlink()


@pytest.mark.usefixtures("toy")
def test_a_measure_dropped_in_as_one_file_is_found_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["methods"]) == 0
    assert "toy" in capsys.readouterr().out
    arguments = ["--methods", "gradcam", "--measures", "toy", "--set", "toy.gain=2", "-o", str(tmp_path / "run")]
    assert command(["explain", "sample:shapes", str(IMAGES / "star.png"), *arguments]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The map has 8192 pixels." in page
    assert "Nobody 2026" in page
