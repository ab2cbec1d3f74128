"""An audit's page in a real browser: silent, nothing overflows, no serious fault, links that lead somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.audits import audited
from tests.reports.full_audit import full_audit
from tests.reports.test_accessibility import RULES, axe
from tests.reports.test_browser import VIEWS
from xai.reports.diff import compare
from xai.reports.html.diff import render_diff

__all__ = ["axe"]  # a fixture

pytestmark = pytest.mark.browser


def serious(tab: Any, axe: str) -> list[str]:
    """Return what axe-core finds in an opened page, with all its parts open."""
    tab.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
    tab.add_script_tag(content=axe)
    found = tab.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert len(found["passes"]) > 15
    return [
        f"{one['id']}: {one['help']} ({[node['target'] for node in one['nodes']][:5]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical", "moderate")
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    return audited(folder).save(folder / "run")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    return full_audit(folder).save(folder / "run")


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_is_whole_and_silent(browser: Any, page: Path, view: str) -> None:
    context = browser.new_context(**VIEWS[view])
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.as_uri())
    assert said == []
    assert tab.title() != "hacked"
    assert tab.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"]
    assert tab.locator(".requirement").count() == 6
    assert tab.locator(".outcome").bounding_box()["y"] < 500, "the verdict is seen at once"
    tab.locator(".outcome a", has_text="ROB").click()
    assert tab.evaluate("Math.abs(document.querySelector('#requirement-ROB').getBoundingClientRect().top) < 500")
    outside = tab.evaluate(
        """[...document.querySelectorAll("svg.line text")].filter(text => {
            const own = text.getBoundingClientRect(), box = text.closest("article").getBoundingClientRect()
            return own.left < box.left || own.right > box.right
        }).length"""
    )
    assert outside == 0
    context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_serious_fault(browser: Any, axe: str, page: Path, view: str) -> None:  # the fixture
    context = browser.new_context(bypass_csp=True, **VIEWS[view])
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert serious(tab, axe) == []
    context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_all_panels_of_audits_are_whole_silent_and_without_serious_fault(
    browser: Any, axe: str, full: Path, view: str
) -> None:
    context = browser.new_context(bypass_csp=True, **VIEWS[view])
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(full.as_uri())
    assert said == []
    assert tab.title() != "hacked"
    assert tab.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"]
    assert tab.locator(".reliability").count() == 2
    assert serious(tab, axe) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"], "with all open"
    context.close()


def test_shades_and_bars_are_drawn_under_the_pages_own_policy(browser: Any, full: Path) -> None:
    context = browser.new_context(**VIEWS["light"])
    tab = context.new_page()
    tab.goto(full.as_uri())
    grounds = tab.locator(".confusion td").evaluate_all(
        "cells => cells.map(one => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(grounds)) >= 3, "right, wrong and nothing look different"
    frames = tab.locator(".confusion .right").evaluate_all(
        "cells => cells.map(one => getComputedStyle(one).outlineStyle)"
    )
    assert set(frames) == {"solid"}, "right cells are told by more than colour"
    ends = tab.locator(".spans .whisker").evaluate_all(
        """marks => marks.map(one => {
            const own = one.getBoundingClientRect(), box = one.closest("svg").getBoundingClientRect()
            return [own.left >= box.left - 1, own.right <= box.right + 1]
        })"""
    )
    assert ends
    assert all(left and right for left, right in ends)
    context.close()


def test_links_open_what_is_folded_and_find_it(browser: Any, full: Path) -> None:
    context = browser.new_context(**VIEWS["light"])
    tab = context.new_page()
    tab.goto(full.as_uri())
    tab.locator("#requirement-JPG a", has_text="Jpeg").click()
    assert tab.locator("tr:target").is_visible()
    assert abs(tab.locator("tr:target").bounding_box()["y"]) < 800
    closed = tab.locator("details:not([open]) [id^=finding]").first.get_attribute("id")
    tab.goto(f"{full.as_uri()}#{closed}")
    assert tab.locator(f"#{closed}").is_visible()
    tab.goto(full.as_uri())
    for name in ("What was required", "What was found", "The model", "Make it again"):
        tab.locator(".parts a", has_text=name).click()
        assert abs(tab.locator(":target").bounding_box()["y"]) < 900
    context.close()


def test_on_paper_what_is_secondary_is_printed_and_contents_are_not(browser: Any, full: Path) -> None:
    context = browser.new_context(**VIEWS["light"])
    tab = context.new_page()
    tab.goto(full.as_uri())
    folded = tab.get_by_text("nothing changed its answer").last
    assert not folded.is_visible()
    tab.emulate_media(media="print")
    assert folded.is_visible()
    assert not tab.locator(".parts").is_visible()
    context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_comparisons_page_is_silent_and_without_serious_fault(
    browser: Any,
    axe: str,
    tmp_path: Path,
    view: str,
) -> None:
    page = tmp_path / "diff.html"
    page.write_text(render_diff(compare(audited(tmp_path, fallen=2, name="parent"), audited(tmp_path, fallen=60))))
    context = browser.new_context(bypass_csp=True, **VIEWS[view])
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(page.as_uri())
    assert said == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"]
    assert serious(tab, axe) == []
    context.close()
