"""The page in a real browser: no request, no console error, pictures decoded, nothing runs, nothing overflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import IMAGES
from tests.networks import Linear, Small, seeded
from tests.reports.test_page import HOSTILE
from xai.api import attack, explain, inspect, load
from xai.models.model import Model
from xai.reports.html.page import render

pytestmark = pytest.mark.browser

VIEWS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 360, "height": 800}},
}


@pytest.fixture(scope="module")
def pages(shapes: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    plain = explain(shapes, [IMAGES / "star.png", IMAGES / "ring.png"])
    made = {"plain": plain.save(folder / "plain")}
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    made["hostile"] = explain(model, torch.rand(3, 12, 10), target=0).save(folder / "hostile")
    made["inside"] = inspect(model, torch.rand(3, 12, 10), layer="einsum").save(folder / "inside")
    made["channels"] = inspect(shapes, [IMAGES / "star.png", IMAGES / "ring.png"]).save(folder / "channels")
    weak = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE * 2, "b", "c"), name=HOSTILE)
    made["attacked"] = attack(weak, torch.rand(4, 3, 12, 10), eps=["1/255", "0.5"]).save(folder / "attacked")
    sheet = {"featurevisualization": {"iterations": 2}}
    beside = load(seeded(Small), shape=(3, 16, 16), classes=(HOSTILE, "b", "c", "d"))
    made["beside"] = explain(
        beside,
        torch.rand(3, 16, 16),
        methods="featurevisualization",
        parameters=sheet,
        reference=(torch.rand(12, 3, 16, 16), [0, 1, 2, 3] * 3),
    ).save(folder / "beside")
    made["large"] = plain.save(folder / "large")
    page = render(plain, budget=1000)
    made["large"].write_text(page.html)
    for name, content in page.files.items():
        (folder / "large" / name).parent.mkdir(exist_ok=True)
        (folder / "large" / name).write_bytes(content)
    return made


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", ["plain", "hostile", "large", "inside", "channels", "attacked", "beside"])
def test_the_page_is_whole_and_silent(browser: Any, pages: dict[str, Path], view: str, page: str) -> None:
    context = browser.new_context(**VIEWS[view])
    tab = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(pages[page].as_uri())
    tab.wait_for_load_state()
    assert said == []
    own = pages[page].parent.as_uri()
    outside = [url for url in asked if not url.startswith(("data:", own))]
    assert outside == []
    if page != "large":
        assert [url for url in asked if not url.startswith("data:")] == [pages[page].as_uri()]
    assert tab.evaluate("document.images.length") >= (1 if page == "inside" else 3)
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    titles = {"inside": "a look inside", "channels": "a look inside", "attacked": "what breaks it?"}
    assert titles.get(page, "look at?") in tab.title()
    assert tab.title() != "hacked"
    assert tab.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"]
    context.close()


def test_dark_and_light_differ(browser: Any, pages: dict[str, Path]) -> None:
    grounds = []
    for view in ("light", "dark"):
        context = browser.new_context(**VIEWS[view])
        tab = context.new_page()
        tab.goto(pages["plain"].as_uri())
        grounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("view", VIEWS)
def test_the_drawings_words_stay_within_their_blocks(browser: Any, pages: dict[str, Path], view: str) -> None:
    context = browser.new_context(**VIEWS[view])
    tab = context.new_page()
    tab.goto(pages["channels"].as_uri())
    outside = tab.evaluate(
        """[...document.querySelectorAll(".architecture g")].flatMap(block => {
            const box = block.querySelector("rect").getBoundingClientRect()
            return [...block.querySelectorAll("text")].filter(text => {
                const own = text.getBoundingClientRect()
                return own.left < box.left || own.right > box.right || own.bottom > box.bottom + 1
            }).map(text => text.textContent)
        })"""
    )
    assert tab.locator(".architecture g").count() == 20
    assert outside == []
    assert tab.evaluate("parseFloat(getComputedStyle(document.querySelector('.architecture text')).fontSize)") >= 11
    context.close()
