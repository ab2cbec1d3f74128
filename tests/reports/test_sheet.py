"""Many maps of one picture: a sheet first, each by itself folded below."""

from __future__ import annotations

import re

import pytest
import torch

from tests.reports.test_page import Checker
from xai.api import explain
from xai.models.model import Model
from xai.reports.html.page import render

SEVEN = ("gradcam", "gradcampp", "hirescam", "layercam", "occlusion", "saliency", "attentionrollout")


@pytest.fixture(scope="module")
def html(small: Model) -> str:
    noise = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(7))
    return render(explain(small, noise, methods=SEVEN, measures="deletion")).html


def test_every_map_is_on_the_sheet_with_what_its_checks_say(html: str) -> None:
    sheet = html[html.index("6 maps of this picture; 1 of 7 methods gave none") : html.index("Each by itself")]
    names = re.findall(r"<figcaption><b>(.*?)</b>", sheet)
    assert sorted(names) == [
        "Attention rollout",
        "Grad-CAM",
        "Grad-CAM++",
        "HiResCAM",
        "LayerCAM",
        "Occlusion sensitivity",
        "Saliency",
    ]
    assert sheet.count("<img") == 6
    assert re.search(r"What speaks for <b>class \d</b>", sheet)
    assert "skipped: the network&#39;s graph shows no attention" in sheet
    assert len(re.findall(r"<br>[✓✗~] Deletion and insertion", sheet)) == 6
    assert all("Values from" in text for text in re.findall(r'alt="(.*?)"', sheet))


def test_each_is_told_by_itself_below_and_the_page_is_sound(html: str) -> None:
    below = html[html.index("Each by itself") :]
    assert below.count("What it does not mean.") >= 7
    Checker(html)


def test_a_contrast_is_said_on_the_sheet(small: Model) -> None:
    noise = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(7))
    page = render(explain(small, noise, methods=SEVEN, measures="none", target=1, against=2)).html
    assert "What speaks for <b>class 1 rather than class 2</b>" in page


def test_few_maps_have_no_sheet(small: Model) -> None:
    noise = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(7))
    page = render(explain(small, noise, methods=SEVEN[:6], measures="none")).html
    assert "maps of this picture" not in page


def test_of_many_methods_the_matrix_is_a_square_of_single_numbers(small: Model) -> None:
    noise = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(7))
    run = explain(small, noise, methods=(*SEVEN, "eigencam", "inputxgradient", "guidedbackprop"), measures="none")
    found = {finding.family: finding for finding in run.findings}["agreement"]
    html = render(run).html
    Checker(html)
    table = html[html.index('detectors many">') :].split("</table>")[0]
    names = re.findall(r'<th scope="row">\d+ (\w+)</th>', table)
    assert sorted(names) == sorted(found.parameters["methods"].split(", "))
    rows = [re.findall(r"<td[^>]*>(-?\d*)</td>", row) for row in table.split("<tr>")[2:]]
    assert [row.index("") for row in rows] == list(range(len(names)))
    for row, column, what in ((2, 5, "rank correlation"), (5, 2, "overlap")):
        pairs = (f"{names[2]} and {names[5]}: {what}", f"{names[5]} and {names[2]}: {what}")
        (value,) = (found.values[pair].value for pair in pairs if pair in found.values)
        assert float(rows[row][column]) == pytest.approx(100 * value, abs=0.5)
