"""A run as a data frame, and as a notebook shows it."""

from __future__ import annotations

import math

import pytest
import torch

from tests.conftest import IMAGES
from tests.networks import Linear, Mlp
from tests.reports.test_page import HOSTILE, Checker
from xai.api import explain, load
from xai.models.model import Model
from xai.reports.run import Run


@pytest.fixture(scope="module")
def run(shapes: Model) -> Run:
    return explain(shapes, [IMAGES / "star.png", IMAGES / "ring.png"], methods=["gradcam", "occlusion"], top=2)


def test_a_frame_has_a_row_a_finding_and_a_column_a_value(run: Run) -> None:
    frame = run.to_dataframe()
    assert len(frame) == len(run.findings) == 12, "maps, and whether they agree"
    for (_, row), finding in zip(frame.iterrows(), run.findings, strict=True):
        assert (row["input"], row["method"], row["target"]) == (finding.input, finding.method, finding.target.name)
        for name, value in finding.values.items():
            assert row[name] == value.value
        for trust in finding.trust:
            assert row[trust.measure] == trust.speaks
            for name, value in trust.values.items():
                assert row[f"{trust.measure}: {name}"] == value.value
    star = frame[(frame["input"] == "star") & (frame["method"] == "occlusion")]
    assert set(star["predicted"]) == {"star"}
    assert star["pointing: hit"].tolist()[0] is True


def test_what_was_skipped_is_a_row_with_its_reason() -> None:
    found = explain(load(Mlp(), shape=(3, 12, 10)), torch.rand(3, 12, 10), methods=["gradcam", "occlusion"])
    frame = found.to_dataframe().set_index("method")
    assert frame.loc["gradcam", "status"] == "skipped"
    assert "rows and columns" in frame.loc["gradcam", "reason"]
    assert math.isnan(frame.loc["gradcam", "highest"])


def test_a_notebook_shows_pictures_answers_and_what_measures_say(run: Run) -> None:
    shown = run._repr_html_()
    page = Checker(shown)
    assert page.stack == []
    assert sum(tag == "img" for tag, _ in page.tags) == 2 + 8
    assert "script" not in [tag for tag, _ in page.tags]
    assert "they prove nothing" in shown
    one = run["gradcam", "star", "star"]._repr_html_()
    assert sum(tag == "img" for tag, _ in Checker(one).tags) == 2
    assert "Randomised head" in one


def test_names_from_outside_are_text_in_a_notebook_too() -> None:
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    found = explain(model, torch.rand(3, 12, 10), target=0, methods=["occlusion", "deepdream"])
    page = Checker(found._repr_html_())
    assert "script" not in [tag for tag, _ in page.tags]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]


def test_figures_show_themselves_in_a_notebook(run: Run, shapes: Model) -> None:
    assert run["gradcam", "star", "star"].show()._repr_png_().startswith(b"\x89PNG")
    dream = explain(shapes, IMAGES / "star.png", methods="deepdream", parameters={"deepdream": {"iterations": 1}})
    figure = dream["deepdream"].show()
    assert len(figure.axes) == 2
    assert len(figure.axes[1].lines[0].get_ydata()) == 5
