"""An audit's page in a real browser: silent, nothing overflows, no serious fault, links that lead somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.audits import audited
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
