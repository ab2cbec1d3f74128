"""A run's evidence is put before its model again: what does not replay is found, what cannot be asked is said."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xai
from tests.cli import test_attack
from tests.cli.test_attack import Net, inputs
from tests.cli.test_audit import policy
from xai.api import load
from xai.cli.main import run
from xai.engine import recheck as engine
from xai.engine.recheck import recheck
from xai.models.model import Model
from xai.reports.artefacts import get, get_rows, put, put_rows
from xai.reports.check import NO_MODEL
from xai.reports.folder import open_run
from xai.reports.run import Run

place = test_attack.place
ASKED = ["robust_accuracy(pgd, 0.05) >= 1 %"]


@pytest.fixture
def net(place: Path) -> Model:  # it writes the network
    return load("net.pt2")


@cache
def audited() -> Run:
    """Audit once: every test keeps a copy of the run beside its own model and data."""
    return xai.audit(policy(requirements=ASKED, explanations={"right": 1, "methods": ["occlusion"]}))


def made() -> Path:
    policy(requirements=ASKED)
    return audited().save("run").parent


def forged(folder: Path, name: str, change: Callable[[Run], dict[str, Any]]) -> Path:
    """Write the run anew with something else in the artefacts of its robustness or performance; digests all fit."""
    kept = open_run(folder)
    old = Run(kept.record, kept.store)
    findings = [
        one.model_copy(update={"artefacts": one.artefacts | change(old)}) if one.id == name else one
        for one in old.findings
    ]
    new = Run(old.record.model_copy(update={"findings": tuple(findings)}), old.store)
    return new.save(folder.with_name("forged"), overwrite=True).parent


def told(found: engine.Checked) -> str:
    return "; ".join(one.words for one in found.complaints)


def test_a_fresh_run_replays_in_the_model_and_in_onnxruntime(net: Model) -> None:
    found = recheck(made(), net)
    assert found.complaints == ()
    assert NO_MODEL not in found.unchecked
    words = "; ".join(found.done)
    finding = open_run(Path("run")).findings
    rows = [
        row
        for one in finding
        if one.id == "robustness"
        for row in get_rows(open_run(Path("run")).store, one.artefacts["rows"])
    ]
    fell = sum(bool(row.get("confirmed")) for row in rows)
    assert fell > 3
    assert f"{fell} adversarial inputs, read again and put before the model and in onnxruntime" in words
    assert f"how far {fell} of them lie from their originals" in words
    assert "30 of 30 images, drawn at random" in words
    assert "stored inputs, put before the model again" in words


def test_another_model_or_card_is_told_and_nothing_else_is_asked(net: Model) -> None:  # its files
    folder = made()
    weights = Net()
    weights.weight.data += 0.01
    card = {"shape": (1, 4, 5), "mean": 0.0, "std": 1.0, "classes": ("ant", "bee", "cat", "dog"), "name": "scores"}
    other = recheck(folder, load(weights, **card))
    assert "its fingerprint is not the record's" in told(other)
    assert any("another model says nothing" in line for line in other.unchecked)
    Path("net.yaml").write_text(test_attack.CARD.replace("bee", "wasp"))
    renamed = recheck(folder, load("net.pt2"))
    assert [one.words for one in renamed.complaints] == ["its card is not the record's: it is another model"]


def test_adversarial_inputs_that_fool_nobody_are_found(net: Model) -> None:
    def harmless(old: Run) -> dict[str, Any]:
        rows = [row for row in old["robustness"].rows if row.get("confirmed")]
        x = inputs()[0][[int(row["id"].rpartition("/")[2]) if "/" in row["id"] else int(row["id"]) for row in rows]]
        return {"adversarial/000000": put(old.store, x)}

    found = recheck(forged(made(), "robustness", harmless), net)
    assert "the model does not fall for its adversarial input" in told(found)
    assert "onnxruntime does not fall" in "; ".join(one.words for one in found.complaints) or "more like these" in told(
        found
    )


def test_a_distance_that_was_made_smaller_is_found(net: Model) -> None:
    def nearer(old: Run) -> dict[str, Any]:
        rows = old["robustness"].rows
        near = [row | {"distance": row["distance"] / 2} if row.get("confirmed") else row for row in rows]
        return {"rows": put_rows(old.store, near)}

    assert "is recorded" in told(recheck(forged(made(), "robustness", nearer), net))


def test_scores_and_answers_that_the_model_does_not_give_are_found(net: Model) -> None:
    folder = made()

    def better(old: Run) -> dict[str, Any]:
        scores = get(old.store, old["performance"].record.artefacts["scores/000000"]).copy()
        scores[3] = np.roll(scores[3], 1)
        return {"scores/000000": put(old.store, scores)}

    def answered(old: Run) -> dict[str, Any]:
        rows = old["performance"].rows
        rows[4]["predicted"] = (rows[4]["predicted"] + 1) % 4
        return {"rows": put_rows(old.store, rows)}

    for change in (better, answered):
        assert "gives another answer than the one recorded" in told(recheck(forged(folder, "performance", change), net))


def test_a_stored_input_with_other_outputs_is_found(net: Model) -> None:
    folder = made()
    kept = open_run(folder)
    first = kept.record.inputs[0]
    wrong = first.predictions[0].model_copy(update={"output": first.predictions[0].output + 1})
    entry = first.model_copy(update={"predictions": (wrong, *first.predictions[1:])})
    record = kept.record.model_copy(update={"inputs": (entry, *kept.record.inputs[1:])})
    Run(record, kept.store).save("forged")
    assert "other outputs than those recorded" in told(recheck(Path("forged"), net))


def test_data_that_changed_or_are_gone_are_told(net: Model) -> None:
    folder = made()
    x, y = inputs()
    x[2] += 0.001
    np.savez("data.npz", x=x.clip(0, 1), y=y)
    assert "hold no such image any more, or another one" in told(recheck(folder, net))
    Path("data.npz").unlink()
    found = recheck(folder, net)
    assert found.complaints == ()
    assert any("the data are not there" in line for line in found.unchecked)
    assert any("lie from their originals" in line for line in found.unchecked)


def test_the_sample_is_the_same_for_a_seed_and_says_what_it_leaves_out(
    net: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made()
    monkeypatch.setattr(engine, "SAMPLE", 5)
    found = recheck(folder, net, seed=3)
    assert found == recheck(folder, net, seed=3)
    assert any("5 of 30 images" in line for line in found.done)
    assert any("answers to the other 25 images" in line for line in found.unchecked)


def test_a_black_box_is_asked_and_the_missing_second_program_is_told(place: Path) -> None:  # its data
    torch.jit.script(test_attack.Branching()).save("box.pt")
    Path("box.yaml").write_text(test_attack.CARD)
    asked = {
        "model": {"source": "box.pt", "intended_use": "a test"},
        "requirements": ["robust_accuracy(square, 0.1) >= 1 %"],
    }
    folder = xai.audit(policy(**asked)).save("run").parent
    found = recheck(folder, load("box.pt"))
    assert found.complaints == ()
    assert any("in onnxruntime: the model is a black box" in line for line in found.unchecked)


def test_the_command_line_gives_its_exit_code(net: Model, capsys: pytest.CaptureFixture[str]) -> None:
    made()
    assert run(["check", "run", "--model", "net.pt2"]) == 0
    captured = capsys.readouterr()
    assert "its fingerprint and its card are the record's" in captured.out
    assert NO_MODEL not in captured.err
    assert run(["check", "run"]) == 0
    assert NO_MODEL in capsys.readouterr().err
    assert run(["check", "run", "--model", "sample:digits"]) == 1
    assert "it is another model" in capsys.readouterr().out
    assert run(["check", "run", "--model", "nowhere.pt"]) == 2
