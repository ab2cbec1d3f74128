"""The panel of a training: which epoch was kept and why, lines that are told apart without colours, nothing hidden."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reports.findings import finding, share, whole
from tests.reports.full_audit import full_audit
from tests.reports.test_accessibility import axe
from tests.reports.test_audit_browser import serious
from tests.reports.test_browser import VIEWS
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_renderings import words
from xai.reports.artefacts import MemoryStore, put_rows
from xai.reports.html.axes import APART, Plane, spread, whole_ticks
from xai.reports.html.notebook import summary
from xai.reports.html.page import render
from xai.reports.policy.expression import read_metric
from xai.reports.policy.metrics import resolve
from xai.reports.records import Finding, Scalar, Value
from xai.reports.renderings import renderings
from xai.reports.run import Run
from xai.reports.table import rows as table_rows

__all__ = ["axe"]  # a fixture

KEPT = 9
FALLEN = "accuracy under the stronger attack fell by 31 points: catastrophic overfitting"
FLAT = "the loss did not fall"
CURVES = {
    "clean": ("clean accuracy", 0.91),
    "attacked": ("attacked accuracy", 0.72),
    "stronger": ("attacked accuracy, stronger", 0.68),
    "certified": ("certified accuracy", 0.4),
}


def rose(to: float, epoch: int) -> float:
    """Return an accuracy that rises until it is there."""
    return round(to * (1 - 0.5**epoch), 3)


def epochs(count: int = 12, curves: tuple[str, ...] = tuple(CURVES)) -> list[dict[str, Any]]:
    """Return rows of epochs as the engine keeps them; the size of the change grows until the fourth."""
    return [
        {
            "epoch": epoch,
            "loss": 2.0 / epoch + 0.2,
            **{name: rose(to, epoch) if name in curves else None for name, (_, to) in CURVES.items()},
            "epsilon": 8 / 255 * min(1, epoch / 4),
            "lr": 0.1,
            "seconds": 3.25,
            "events": [],
        }
        for epoch in range(1, count + 1)
    ]


def training(
    store: MemoryStore,
    rows: list[dict[str, Any]],
    *,
    kept: int | None = None,
    notes: tuple[str, ...] = (),
    values: dict[str, Value] | None = None,
    **parameters: Scalar,
) -> Finding:
    """Return a finding of a training as the engine records it."""
    used: dict[str, Scalar] = {
        "norm": "linf",
        "epsilon": 8 / 255,
        "epsilon as written": "8/255",
        "epochs": len(rows),
        "batch": 64,
        "lr": 0.1,
        "seed": 7,
        "watched": "attacked",
        "parent": "nets/parent.pt",
        "parent fingerprint": "a" * 64,
        "data": "data/shapes",
        "data digest": "b" * 64,
        "initial weights": "the parent's",
    }
    kept = min(KEPT, len(rows)) if kept is None else kept
    counts = {
        "epochs": len(rows),
        "best epoch": kept,
        "stopped": "all epochs were run",
        "images": 7500,
        "validation images": 1000,
        "held-out images": 1797,
        "steps": 1416,
        "trained numbers": 80_000,
        "frozen numbers": 0,
    }
    measured = {
        value: share(round(1000 * row[name]), 1000)
        for row in rows
        if row["epoch"] == kept
        for name, (value, _) in CURVES.items()
        if row[name] is not None
    }
    told = {name: Value(value=value) for name, value in counts.items()} | measured | (values or {})
    made = finding("training", told, name="adversarial", kind="heuristic", parameters=used | parameters)
    given = {"id": "training", "title": "PGD adversarial training", "notes": notes, "seconds": 39.0}
    return made.model_copy(update=given | {"artefacts": {"epochs": put_rows(store, rows)}})


def run(rows: list[dict[str, Any]] | None = None, **changes: Any) -> Run:
    store = MemoryStore()
    made = whole(training(store, epochs() if rows is None else rows, **changes), store=store)
    return Run(made.record.model_copy(update={"verb": "train"}), store)


def page(rows: list[dict[str, Any]] | None = None, **changes: Any) -> str:
    return render(run(rows, **changes)).html


def said(html: str) -> str:
    """Return the words of a page with plain spaces."""
    return words(html).replace("\xa0", " ").replace("\u202f", " ")


def charts(html: str) -> list[str]:
    return re.findall(r'<figure><svg class="curve axes epochs".*?</figure>', html, re.DOTALL)


def line(chart: str, name: str) -> list[np.ndarray]:
    """Return the parts of a line, each (points, 2)."""
    parts = re.findall(rf'<polyline class="{name}" points="([^"]*)"', chart)
    return [np.array([point.split(",") for point in part.split()], dtype=float) for part in parts]


def labels(chart: str) -> dict[str, float]:
    """Return the words at the right ends of lines, and how far down they stand."""
    found = re.findall(r'<text class="said" x="[\d.]+" y="([\d.]+)">(\w+)</text>', chart)
    return {name: float(at) for at, name in found}


def test_the_sentence_tells_what_was_minimised_on_what_and_which_epoch_was_kept() -> None:
    assert (
        "The loss of PGD adversarial training , for changes within 8/255 (linf), was minimised on 7 500 images, "
        "for 12 epochs (1 416 steps). Epoch 9 is kept, chosen for its accuracy under the attack of the training. "
        "On 1 000 validation images it reaches 90.8 % without an attack, 71.9 % under the attack of the training, "
        "67.9 % under a stronger attack and 39.9 % by the training’s own bounds. These images chose the epoch, so the "
        "figures are likelier too high than too low. The figures that count are those on 1 797 held-out images, in the "
        "other panels."
    ) in said(page())


def test_a_training_that_ended_early_says_why() -> None:
    ended = {"stopped": Value(value="nothing got better for 5 epochs")}
    assert "for 12 of 30 epochs (1 416 steps): nothing got better for 5 epochs." in said(page(epochs=30, values=ended))


def test_without_held_out_images_nothing_is_said_to_count() -> None:
    html = said(page(values={"held-out images": Value(value=0)}))
    assert "No images were held out: nothing says how it does on images that played no part." in html
    assert "The figures that count" not in html


def test_lines_stand_where_the_shares_are() -> None:
    chart = charts(page())[0]
    plane = Plane((1, 12), (0, 1))
    (points,) = line(chart, "attacked")
    assert len(points) == 12
    assert points[0] == pytest.approx([plane.left, plane.bottom - 0.36 * (plane.bottom - plane.top)], abs=0.06)
    assert points[-1, 0] == plane.right
    assert (np.diff(points[:4, 1]) < 0).all(), "a share that rises is drawn higher"


def test_the_epoch_that_is_kept_is_marked_and_so_is_what_chose_it() -> None:
    accuracies, losses = charts(page())
    plane = Plane((1, 12), (0, 1))
    at = plane.across(KEPT)
    assert f'<path class="kept" d="M{at} ' in accuracies
    assert f'<path class="kept" d="M{at} ' in losses
    full = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3.5"', accuracies)
    assert [(float(x), float(y)) for x, y in full] == [(at, plane.down(rose(0.72, KEPT)))]
    assert accuracies.count('<circle class="open"') == 3


def test_lines_are_named_where_they_end_and_no_name_lies_on_another() -> None:
    close = [row | {"attacked": row["clean"], "stronger": row["clean"]} for row in epochs()]
    for rows in (epochs(), close, [row | {"clean": 0.0, "attacked": 0.0, "stronger": 0.0} for row in epochs()]):
        found = labels(charts(page(rows))[0])
        assert set(found) == set(CURVES)
        assert min(np.diff(sorted(found.values()))) >= APART
        assert max(found.values()) <= Plane.bottom + 4


def test_only_what_was_measured_is_drawn_and_told() -> None:
    html = page(epochs(curves=("clean",)), watched="clean")
    assert set(labels(charts(html)[0])) == {"clean"}
    assert "under a stronger attack" not in html
    assert "chosen for its accuracy without an attack." in said(html)


def test_without_any_accuracy_the_loss_is_drawn_alone() -> None:
    html = page(epochs(curves=()))
    (chart,) = charts(html)
    assert "Loss by epoch: 2.2 at first, 0.3667 at last, 0.4222 in epoch 9, which is kept" in chart
    assert "Epoch 9 is kept; there was no accuracy to choose it by." in said(html)
    assert "These images chose the epoch" not in html


def test_what_was_measured_now_and_then_is_joined_and_said_to_be() -> None:
    rows = [row | ({} if row["epoch"] % 3 == 0 else {"stronger": None}) for row in epochs()]
    html = page(rows)
    (points,) = line(charts(html)[0], "stronger")
    assert points[:, 0] == pytest.approx([Plane((1, 12), (0, 1)).across(epoch) for epoch in (3, 6, 9, 12)])
    assert "lines join the epochs in which it was measured" in html
    assert "lines join" not in page()


def test_a_loss_that_is_no_number_breaks_the_line_and_is_a_dash() -> None:
    rows = epochs()
    rows[5]["loss"] = None
    html = page(rows)
    assert [len(part) for part in line(charts(html)[1], "loss")] == [5, 6]
    assert re.search(r'<th scope="row">6</th><td>–</td>', html)


def test_without_a_loss_that_is_a_number_no_loss_is_drawn() -> None:
    html = page([row | {"loss": None} for row in epochs()])
    assert len(charts(html)) == 1
    assert "Loss by epoch" not in html


def test_a_size_that_varies_has_a_line_and_one_that_does_not_has_none() -> None:
    growing, steady = page(), page([row | {"epsilon": 8 / 255} for row in epochs()])
    assert set(labels(charts(growing)[1])) == {"loss", "epsilon"}
    assert "from 0.007843 to 0.03137 on a scale of its own" in growing
    assert set(labels(charts(steady)[1])) == {"loss"}
    assert ('<th scope="col">epsilon</th>' in growing, '<th scope="col">epsilon</th>' in steady) == (True, False)


def test_a_chart_says_in_words_what_it_shows() -> None:
    accuracies, _ = charts(page().replace("\xa0", " "))
    assert "clean 45.5 % at first, 91.0 % at last, 90.8 % in epoch 9, which is kept" in accuracies


def test_one_epoch_is_drawn_as_dots() -> None:
    html = page(epochs(1))
    accuracies, losses = charts(html)
    middle = Plane((1, 1), (0, 1)).across(1)
    assert line(accuracies, "clean") == []
    assert accuracies.count(f'<circle cx="{middle}"') == 5, "a dot for each line, and one where it was kept"
    assert losses.count("<circle") == 1
    assert "for 1 epoch (1 416 steps). Epoch 1 is kept, the only one. On" in said(html)
    assert "These images chose the epoch" not in html
    assert "<b>1 epoch</b> PGD adversarial training on 7\u202f500 images" in html


def test_few_epochs_stand_in_a_table_and_many_are_folded() -> None:
    few, many = page(epochs(12)), page(epochs(13))
    assert "epochs in numbers</summary>" not in few
    assert '<tr class="whole"><th scope="row">9, kept</th>' in few
    assert "<summary>The 13 epochs in numbers</summary>" in many
    assert many.count('<th scope="row">13</th>') == 1


def test_three_hundred_epochs_stay_readable() -> None:
    html = page(epochs(300), kept=287)
    (points,) = line(charts(html)[0], "clean")
    assert len(points) == 300
    ticks = re.findall(r'text-anchor="middle">(\d+)</text>', charts(html)[0])
    assert ticks == ["50", "100", "150", "200", "250", "300"]
    assert len(html) < 200_000


def test_what_was_noticed_stands_above_the_sentence_each_once_with_its_epochs() -> None:
    rows = epochs()
    for epoch in (2, 3, 4, 7):
        rows[epoch - 1]["events"] = [FLAT]
    rows[10]["events"] = [FALLEN, HOSTILE]
    html = page(rows, notes=("Catastrophic overfitting: do not use it.",))
    box = re.search(r'<div class="note" role="group".*?</div>', html, re.DOTALL)
    assert box is not None
    assert html.index("do not use it") < html.index(box[0]) < html.index("The loss of")
    told = said(box[0])
    assert f"Epochs 2 to 4, 7 : {FLAT}" in told
    assert f"Epoch 11 : {FALLEN}" in told
    assert told.index(FLAT) < told.index(FALLEN)
    assert box[0].count(FLAT) == 1
    assert "<script" not in html


def test_of_many_things_noticed_the_first_are_seen_and_the_rest_are_folded() -> None:
    rows = [row | {"events": [f"the loss rose to {row['epoch']}"]} for row in epochs(30)]
    html = page(rows)
    assert "<summary>22 more</summary>" in html
    assert html.count("the loss rose to") == 30
    assert html.index("the loss rose to 8") < html.index("22 more</summary>") < html.index("the loss rose to 9")


def test_nothing_noticed_leaves_no_box() -> None:
    assert "Noticed during training" not in page()


def test_the_table_of_figures_has_intervals_and_reasons() -> None:
    lost = {"certified accuracy": Value(value=None, reason="no bounds reach this layer", n=1000)}
    html = said(page(values=lost))
    assert "95 % intervals below, as if these images had not chosen it" in html
    low, high = share(719, 1000).interval or (0, 1)
    assert f"under the attack of the training 71.9 % {100 * low:.1f} % – {100 * high:.1f} % 1 000" in html
    assert "by the training’s own bounds – no bounds reach this layer 1 000" in html
    assert "67.9 % under a stronger attack." in html, "what was not measured is not reached"


def test_where_it_comes_from_is_told() -> None:
    html = said(page(values={"frozen numbers": Value(value=12)}))
    assert f"parent nets/parent.pt {'a' * 64}" in html
    assert "initial weights the parent's; 80 000 numbers learn, 12 stay as they are" in html
    assert f"data/shapes: 7 500 images to train on, 1 000 for validation, 1 797 held out {'b' * 64}" in html
    assert "objective PGD adversarial training adversarial" in html
    assert "changes within 8/255 (linf)" in html
    assert "changes none" in said(page(**{"epsilon as written": "", "epsilon": None}))


def test_the_comparison_is_linked_where_there_is_one_and_nothing_else_ever_is() -> None:
    def links(html: str) -> list[str | None]:
        return [attrs["href"] for tag, attrs in Checker(html).tags if tag == "a" and "diff" in str(attrs["href"])]

    html = page(comparison="diff.html")
    assert links(html) == ["diff.html"]
    assert "Compared with the parent: diff.html" in said(html)
    assert links(page()) == []
    assert links(page(comparison="https://example.com/diff.html")) == []


def test_no_epoch_kept_says_why_and_marks_none() -> None:
    html = page(values={"best epoch": Value(value=None, reason="the loss was never a number")})
    assert "No epoch was kept: the loss was never a number." in said(html)
    assert "which is kept" not in html
    assert 'class="kept"' not in html
    assert "full dot" not in html


def test_the_head_asks_what_it_learnt_and_validation_gives_no_headline() -> None:
    html = page()
    top = said(html[html.index("<body>") : html.index("</header>")])
    assert "What did “ net ” learn?" in top
    assert "12 epochs PGD adversarial training on 7 500 images" in top
    assert "%" not in top


def test_tags_are_closed_and_names_from_outside_are_text() -> None:
    rows = [row | {"events": [HOSTILE]} for row in epochs(13)]
    checker = Checker(page(rows, parent=HOSTILE, data=HOSTILE, comparison="diff.html"))
    assert checker.stack == []
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]


def test_requirements_find_its_figures_by_finding_and_by_family() -> None:
    findings = run().findings
    for metric in (
        "value(training, 'clean accuracy')",
        "training.clean_accuracy",
        "value(adversarial, 'clean accuracy')",
    ):
        found = resolve(read_metric(metric), findings)
        assert found.reason == ""
        assert [source.value.value for source in found.sources] == [0.908]
    assert [one.value.value for one in resolve(read_metric("value(training, 'best epoch')"), findings).sources] == [9]
    assert "labels" not in resolve(read_metric("accuracy"), findings).reason, "validation images give no accuracy"
    assert resolve(read_metric("accuracy"), findings).sources == ()


def test_the_other_renderings_take_it_and_epochs_are_no_images(tmp_path: Path) -> None:
    audited = full_audit(tmp_path)
    made = training(audited.store, epochs())
    record = audited.record.model_copy(update={"findings": (*audited.record.findings, made)})
    before, after = renderings(audited), renderings(Run(record, audited.store))
    assert after["samples.csv"] == before["samples.csv"]
    assert after["junit.xml"] == before["junit.xml"]
    assert charts(render(Run(record, audited.store)).html)
    assert "PGD adversarial training" in summary(run(), run().findings)
    (row,) = table_rows(run())
    assert (row["best epoch"], row["attacked accuracy"]) == (9, 0.719)


def test_a_run_that_was_saved_is_read_and_drawn_again(tmp_path: Path) -> None:
    made = run()
    report = made.save(tmp_path / "run")
    assert report.read_text(encoding="utf-8") == render(made).html


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (1, 1, [1]),
        (1, 3, [1, 2, 3]),
        (1, 7, [1, 2, 3, 4, 5, 6, 7]),
        (1, 8, [2, 4, 6, 8]),
        (1, 12, [2, 4, 6, 8, 10, 12]),
        (1, 300, [50, 100, 150, 200, 250, 300]),
    ],
)
def test_epochs_below_a_drawing_are_whole_and_few(low: int, high: int, wanted: list[int]) -> None:
    assert whole_ticks(low, high) == wanted


def test_words_keep_their_order_and_their_distance() -> None:
    assert spread([10.0, 100.0], 178) == [10.0, 100.0], "what is far apart stays"
    assert spread([100.0, 50.0, 99.0], 178) == [117.0, 50.0, 99.0]
    assert spread([178.0, 178.0, 178.0], 178) == [142.0, 160.0, 178.0]
    assert spread([], 178) == []


def test_a_line_is_broken_where_nothing_is_known() -> None:
    plane = Plane((0, 4), (0, math.e))
    parts = plane.places([(0, 1.0), (1, 1.0), (2, None), (3, 0.0), (4, None)])
    assert [len(part) for part in parts] == [2, 1]
    assert parts[1] == [(plane.across(3), plane.bottom)]


@pytest.mark.browser
@pytest.mark.parametrize("view", VIEWS)
def test_the_page_is_silent_fits_and_has_no_serious_fault(browser: Any, axe: str, tmp_path: Path, view: str) -> None:
    rows = [row | {"events": [f"{FALLEN} in {row['epoch']}"]} for row in epochs(30)]
    file = run(rows, parent=HOSTILE * 2, comparison="diff.html").save(tmp_path / "run")
    context = browser.new_context(bypass_csp=True, **VIEWS[view])
    tab = context.new_page()
    heard: list[str] = []
    tab.on("console", lambda message: heard.append(message.text))
    tab.goto(file.as_uri())
    assert heard == []
    assert serious(tab, axe) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"]
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("view", VIEWS)
def test_words_in_the_charts_stay_within_the_panel_and_apart(browser: Any, tmp_path: Path, view: str) -> None:
    close = [row | {"attacked": row["clean"], "stronger": row["clean"]} for row in epochs()]
    file = run(close, kept=1).save(tmp_path / "run")
    context = browser.new_context(**VIEWS[view])
    tab = context.new_page()
    tab.goto(file.as_uri())
    outside, lying = tab.evaluate(
        """[...document.querySelectorAll("svg.epochs")].reduce(([outside, lying], chart) => {
            const box = chart.closest("article").getBoundingClientRect()
            const words = [...chart.querySelectorAll("text")].map(text => text.getBoundingClientRect())
            const beyond = words.filter(own => own.left < box.left || own.right > box.right).length
            const across = (one, other) => one.left < other.right && other.left < one.right
            const down = (one, other) => one.top + 4 < other.bottom && other.top + 4 < one.bottom
            const pairs = words.flatMap((one, place) =>
                words.slice(place + 1).filter(other => across(one, other) && down(one, other)))
            return [outside + beyond, lying + pairs.length]
        }, [0, 0])"""
    )
    assert (outside, lying) == (0, 0)
    context.close()
