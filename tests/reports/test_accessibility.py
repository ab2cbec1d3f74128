"""axe-core finds no serious fault, and everything can be reached and opened by keyboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import IMAGES, ROOT
from tests.networks import Branching, Linear
from tests.reports.test_browser import VIEWS
from tests.reports.test_page import HOSTILE
from tests.robustness.ood.subjects import digit_pictures
from xai import ood
from xai.api import attack, explain, inspect, load
from xai.models.model import Model

pytestmark = pytest.mark.browser

AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
COARSE = {"occlusion": {"window": 12, "stride": 6}}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        if os.environ.get("XAI_REQUIRE_BROWSER"):
            pytest.fail("XAI_REQUIRE_BROWSER is set and axe-core is not installed: make axe")
        pytest.skip("axe-core is not installed: make axe")
    return AXE.read_text()


@pytest.fixture(scope="module")
def pages(shapes: Model, digits: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    brief = {
        "lime": {"samples": 100},
        "deepdream": {"iterations": 1},
        "featurevisualization": {"iterations": 1, "count": 2},
    }
    images = [IMAGES / "star.png", IMAGES / "ring.png"]
    full = explain(shapes, images, methods="all", parameters=brief, reference="sample:shapes:0-40")
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    box = load(Branching(), shape=(3, 12, 10))
    return {
        "full": full.save(folder / "full"),
        "hostile": explain(model, torch.rand(3, 12, 10), target=0).save(folder / "hostile"),
        "channels": inspect(shapes, IMAGES / "star.png").save(folder / "channels"),
        "units": inspect(model, torch.rand(3, 12, 10), "einsum").save(folder / "units"),
        "attacked": attack(model, torch.rand(4, 3, 12, 10), eps=["1/255", "0.5"]).save(folder / "attacked"),
        **_foreign(digits, folder),
        "summed": explain(shapes, "sample:shapes:0-40", summary=True, parameters=COARSE).save(folder / "summed"),
        "skipped": explain(box, torch.full((3, 12, 10), 0.5)).save(folder / "skipped"),
    }


def _foreign(digits: Model, folder: Path) -> dict[str, Path]:
    """Return the pages of a detector, of what it says, and of how well it tells."""
    test = digit_pictures()[1]
    detector = ood.fit(digits, (test.images[:400], test.labels[:400]), methods=["msp", "hbos"], holdout=0.4)
    return {
        "detector": detector.save(folder / "detector"),
        "scored": ood.score(digits, detector, test.images[400:420], examples=2).save(folder / "scored"),
        "evaluated": ood.evaluate(digits, detector, test.images[400:], probes=["noise", "blur"], rounds=10).save(
            folder / "evaluated"
        ),
    }


FOREIGN = ["detector", "scored", "evaluated"]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", ["full", "hostile", "skipped", "channels", "units", "attacked", "summed", *FOREIGN])
def test_axe_finds_no_serious_fault(browser: Any, axe: str, pages: dict[str, Path], view: str, page: str) -> None:
    context = browser.new_context(bypass_csp=True, **VIEWS[view])
    tab = context.new_page()
    tab.goto(pages[page].as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
    tab.add_script_tag(content=axe)
    found = tab.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert len(found["passes"]) > 20
    serious = [
        (fault["id"], fault["help"], [node["html"][:120] for node in fault["nodes"][:3]])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical", "moderate")
    ]
    assert serious == []
    context.close()


def test_everything_is_reached_and_opened_by_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(**VIEWS["light"])
    tab = context.new_page()
    tab.goto(pages["full"].as_uri())
    wanted = tab.evaluate(
        "document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length"
        ' - document.querySelectorAll(\'details:not([open]) > :not(summary) :is(a[href], summary, [tabindex="0"]),'
        ' details:not([open]) > [tabindex="0"]\').length'
    )
    reached = 0
    for _ in range(500):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement === document.body"):
            break
        assert tab.evaluate(
            "(() => { const style = getComputedStyle(document.activeElement);"
            " return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 })()"
        ), "the focus is seen"
        reached += 1
    assert reached == wanted > 20

    tab.locator(".contents li a").nth(1).focus()
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#input-2")
    assert tab.evaluate("Math.abs(document.querySelector('#input-2').getBoundingClientRect().top) < 400")
    summary = tab.locator("details summary").first
    summary.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details").first.evaluate("element => element.open")
    context.close()
