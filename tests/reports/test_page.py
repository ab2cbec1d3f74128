"""The page: safe with hostile names, one scale a method, honest about blank maps and failures."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.networks import Linear, Mlp
from xai.api import explain, load
from xai.reports.figures import coloured, overlaid, picture, scale, tiles
from xai.reports.html.page import Page, render, share
from xai.reports.records import Value
from xai.reports.run import Run

HOSTILE = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"


class Checker(HTMLParser):
    """Collects what a page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> closes nothing"


def policy(html: str) -> str:
    return next(str(attrs["content"]) for _, attrs in Checker(html).tags if attrs.get("http-equiv"))


@pytest.fixture(scope="module")
def hostile() -> Run:
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    return explain(model, torch.rand(3, 12, 10), methods=["gradcam", "occlusion"], target=0)


def test_names_from_outside_are_text(hostile: Run) -> None:
    html = render(hostile).html
    tags = Checker(html).tags
    assert "script" not in [tag for tag, _ in tags]
    assert not [attrs for _, attrs in tags if any(name.startswith("on") for name in attrs)]
    assert html.count("&lt;script&gt;") >= 4
    assert "<script" not in html


def test_tags_are_closed_in_order_and_pictures_have_words(hostile: Run) -> None:
    checker = Checker(render(hostile).html)
    assert checker.stack == []
    pictures = [attrs for tag, attrs in checker.tags if tag == "img"]
    assert len(pictures) >= 4
    assert all(attrs["alt"] for attrs in pictures)
    assert all(str(attrs["src"]).startswith("data:image/") for attrs in pictures)
    assert not [attrs for _, attrs in checker.tags if "style" in attrs], "the policy forbids style attributes"


def test_the_policy_admits_the_pages_own_style_only(hostile: Run) -> None:
    html = render(hostile).html
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy(html) == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_skipped_and_failed_panels_say_why(hostile: Run) -> None:
    html = render(hostile).html
    assert "Grad-CAM was skipped: no layer was found whose output has rows and columns" in html
    failed = hostile.findings[0].model_copy(update={"status": "failed", "reason": "it broke & <burnt>"})
    record = hostile.record.model_copy(update={"findings": (failed,)})
    assert "Grad-CAM failed: it broke &amp; &lt;burnt&gt;" in render(Run(record, hostile.store)).html


def test_a_blank_map_is_said_and_not_drawn() -> None:
    model = load(Mlp(), shape=(3, 12, 10))
    run = explain(model, torch.full((3, 12, 10), 0.5), methods=["occlusion"])
    html = render(run).html
    assert "The map is blank" in html
    assert len([tag for tag, _ in Checker(html).tags if tag == "img"]) == 1, "only the input is drawn"


def test_a_family_without_a_panel_of_its_own_gets_the_generic_one(hostile: Run) -> None:
    values = {"coverage": Value(value=0.5, unit="share", n=10, interval=(0.2, 0.8))}
    foreign = hostile.findings[1].model_copy(update={"family": "something new", "values": values, "artefacts": {}})
    record = hostile.record.model_copy(update={"findings": (foreign,)})
    html = render(Run(record, hostile.store)).html
    assert "0.5 [0.2, 0.8] (n = 10)" in html


def test_a_page_over_its_budget_keeps_its_pictures_beside_it(hostile: Run, tmp_path: Path) -> None:
    inline, beside = render(hostile), render(hostile, budget=1000)
    assert inline.files == {}
    assert isinstance(beside, Page)
    sources = {attrs["src"] for tag, attrs in Checker(beside.html).tags if tag == "img"}
    assert sources == set(beside.files)
    assert "img-src 'self' data:" in policy(beside.html)


def test_one_scale_for_all_maps_of_a_method() -> None:
    model = load(Linear(), shape=(3, 12, 10))
    run = explain(model, [torch.rand(3, 12, 10), torch.rand(3, 12, 10) * 0.1], methods=["occlusion"], target=0)
    scales = {scale(run, finding) for finding in run.findings}
    assert len(scales) == 1
    low, high = scales.pop()
    assert low == -high
    assert high == pytest.approx(max(abs(found.map).max() for found in run))


def test_colours_mean_what_the_bar_says() -> None:
    values = np.array([[-1.0, 0.0, 1.0]])
    blue, white, red = coloured(values, (-1, 1), signed=True)[0].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert min(white) > 240
    dark, bright = coloured(np.array([[0.0, 1.0]]), (0, 1), signed=False)[0].astype(int)
    assert bright.sum() > dark.sum()
    same = overlaid(np.zeros((1, 3, 3), dtype=np.uint8), coloured(values, (-1, 1), signed=True))
    assert same.shape == (1, 3, 3)


def test_pictures_of_any_channels_and_range() -> None:
    for channels in (1, 2, 3, 7):
        drawn = picture(np.linspace(-1, 1, channels * 6).reshape(channels, 2, 3).astype(np.float32), (-1, 1))
        assert drawn.shape == (2, 3, 3)
        assert drawn.dtype == np.uint8


def test_tiles_are_means() -> None:
    raw = np.arange(16 * 24, dtype=np.float64).reshape(16, 24)
    table = np.array(tiles(raw))
    assert table.shape == (8, 8)
    assert table[0, 0] == raw[:2, :3].mean()
    assert np.array(tiles(raw[:3, :5])).shape == (3, 5)


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.0, "100.0 %"), (0.99999, "> 99.9 %"), (0.5, "50.0 %"), (0.0001, "< 0.1 %"), (0.0, "0.0 %"), (None, "–")],
)
def test_shares_never_round_to_certainty(value: float | None, words: str) -> None:
    assert share(value) == words.replace(" %", "\u00a0%")
