"""xai train as its users use it, and misuse it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xai.api import load
from xai.cli.main import run
from xai.reports.artefacts import get_rows
from xai.reports.folder import open_run

TRAIN = ["train", "sample:digits", "sample:digits:0-300", "--objective", "adversarial", "--eps", "0.1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "xai.cli", *arguments]


def test_a_run_leaves_model_report_and_comparison(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--epochs", "2", "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out/report.html\n"
    assert "robustness, right under attack at 0.1: " in captured.err
    assert "model: out/model.safetensors" in captured.err
    held = {path.name for path in Path("out").iterdir()}
    assert held >= {"model.safetensors", "model.yaml", "report.html", "diff.html", "before", "held-out.npz"}
    assert "training" not in held
    assert run(["check", "out", "--model", "out"]) == 0
    assert run(["attack", "out", "out/held-out.npz", "--eps", "0.1", "-o", "attacked"]) == 0
    assert run(["diff", "out/before", "out", "--fail-on", "never", "-o", "again"]) == 0
    assert run([*TRAIN, "--epochs", "1", "-o", "out"]) == 2
    assert run([*TRAIN, "--epochs", "1", "-o", "out", "--overwrite"]) == 0


def test_an_audit_takes_the_trained_model(place: Path) -> None:
    assert run([*TRAIN, "--epochs", "1", "-o", "out"]) == 0
    policy = (
        "model: {source: out, intended_use: test}\ndata: {test: out/held-out.npz}\nrequirements: [accuracy >= 50 %]\n"
    )
    Path("audit.yaml").write_text(policy)
    assert run(["audit", "audit.yaml", "-o", "audited"]) == 0
    record = open_run(Path("audited")).record
    assert record.model.card["lineage"]["parent"] == "sample:digits"
    assert record.model.source.endswith("out")


def test_a_damaged_checkpoint_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xai.engine.training.run.result", lambda *_: 1 / 0)
        assert run([*TRAIN, "--epochs", "1", "-o", "out"]) == 3
    checkpoint = place / "out.partial" / "training" / "training.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    capsys.readouterr()
    assert run([*TRAIN, "--epochs", "1", "-o", "out", "--resume"]) == 4
    assert "training.pt is damaged; begin anew with --overwrite" in capsys.readouterr().err
    assert run([*TRAIN, "--epochs", "1", "-o", "out", "--overwrite"]) == 0


@pytest.mark.parametrize("objective", ["adversarial", "certified"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(place: Path, objective: str) -> None:
    asked = ["train", "sample:digits", "sample:digits:0-300", "--objective", objective, "--eps", "0.05"]
    asked += ["--epochs", "12", "--batch", "32"]
    assert subprocess.run(command(*asked, "-o", "whole"), check=False).returncode == 0
    process = subprocess.Popen(command(*asked, "-o", "killed"))
    checkpoint = place / "killed.partial" / "training" / "training.pt"
    late = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < late:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (place / "killed").exists()
    rows = json.loads(torch.load(checkpoint, weights_only=True)["rows"])
    assert 1 <= len(rows) < 12
    refused = subprocess.run(command(*asked, "-o", "killed"), check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    other = [*asked[:-1], "16", "-o", "killed", "--resume"]
    assert subprocess.run(command(*other), check=False).returncode == 2
    assert subprocess.run(command(*asked, "-o", "killed", "--resume"), check=False).returncode == 0
    assert (place / "killed/model.safetensors").read_bytes() == (place / "whole/model.safetensors").read_bytes()
    first, second = (open_run(place / name) for name in ("whole", "killed"))
    assert [one.timeless().values for one in first.findings] == [one.timeless().values for one in second.findings]


def test_the_record_says_how_to_do_it_again(place: Path) -> None:
    options = ["--epochs", "1", "--layers", "head", "--scratch", "--set", "adversarial.steps=2", "--batch", "50"]
    assert run([*TRAIN, *options, "-o", "out"]) == 0
    written = open_run(Path("out")).record.command
    for part in ("--objective adversarial", "--eps 0.1", "--epochs 1", "--layers head", "--scratch", "--batch 50"):
        assert part in written
    assert written.endswith("--set adversarial.steps=2")


def test_a_folder_a_class_and_a_new_head(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for name in ("dark", "light"):
        folder = place / "images" / name
        folder.mkdir(parents=True)
        for number in range(20):
            low = 0 if name == "dark" else 128
            pixels = generator.integers(low, low + 128, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (place / "names.txt").write_text("dark\nlight\n")
    asked = ["train", "sample:digits", "images", "--epochs", "8", "--lr", "0.01", "-o", "out"]
    assert run(asked) == 2
    assert "dark" in capsys.readouterr().err
    assert run([*asked, "--head", "names.txt"]) == 0
    model = load(place / "out")
    assert model.answers == ("dark", "light")
    assert run(["explain", "out", "images/dark/0.png", "-o", "why"]) == 0


def test_an_architecture_of_one_s_own_is_trained_and_named_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.py").write_text(
        "from torch import nn\n"
        "def make(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))\n"
    )
    Path("card.yaml").write_text("input: {shape: [1, 8, 8], mean: 0, std: 1}\n")
    asked = ["train", "net.py:make", "sample:digits:0-500", "--card", "card.yaml", "--epochs", "20", "--lr", "0.01"]
    assert run([*asked, "-o", "out"]) == 0
    assert "--arch net.py:make" in capsys.readouterr().err
    assert run(["attack", "out", "out/held-out.npz", "--arch", "net.py:make", "--eps", "0.05", "-o", "hit"]) == 0
    assert load(place / "out", arch="net.py:make").card.measured["accuracy"] > 0.8  # type: ignore[operator]


@pytest.mark.parametrize("board", ["tensorboard", "mlflow"])
def test_figures_go_to_a_board(place: Path, monkeypatch: pytest.MonkeyPatch, board: str) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = subprocess.run(
        command(*TRAIN, "--epochs", "2", "--log", board, "-o", "out"), check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = list(get_rows(open_run(Path("out")).store, open_run(Path("out")).findings[0].artefacts["epochs"]))
    told = _tensorboard() if board == "tensorboard" else _mlflow()
    assert told == pytest.approx([row["loss"] for row in rows], rel=1e-5)
    assert run(["check", "out"]) == 0


def _tensorboard() -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator("out/logs")
    found.Reload()
    return [event.value for event in found.Scalars("loss")]


def _mlflow() -> list[float]:
    import sqlite3

    with sqlite3.connect("out/logs/mlflow.db") as base:
        return [value for (value,) in base.execute("select value from metrics where key = 'loss' order by step")]


def test_a_board_that_is_not_installed_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert run([*TRAIN, "--epochs", "1", "--log", "mlflow", "-o", "out"]) == 2
    assert "pip install 'xai-verify[mlflow]'" in capsys.readouterr().err
    assert run([*TRAIN, "--epochs", "1", "--log", "mlflo", "-o", "out"]) == 2
    assert not list(place.glob("out*"))


WRONG = [
    (2, "did you mean 'adversarial'", ["sample:digits", "sample:digits:0-300", "--objective", "adversarail"]),
    (2, "needs the size of the change", ["sample:digits", "sample:digits:0-300", "--objective", "certified"]),
    (2, "holds no picture", ["sample:digits", "empty"]),
    (2, "do not exist", ["sample:digits", "nowhere"]),
    (2, "labels are needed", ["sample:digits", "sample:digits"]),
    (2, "of one class, '3'", ["sample:digits", "one"]),
    (3, "diverges in epoch", ["sample:digits", "sample:digits:0-300", "--lr", "1e20", "--scratch"]),
    (2, "epochs", ["sample:digits", "sample:digits:0-300", "--epochs", "-3"]),
    (2, "did you mean 'head'", ["sample:digits", "sample:digits:0-300", "--layers", "haed"]),
    (4, "takes inputs of shape (1, 8, 8)", ["sample:digits", "wrong.npz"]),
]


@pytest.mark.parametrize(("code", "words", "arguments"), WRONG)
def test_what_is_wrong_is_told_and_nothing_is_left(
    place: Path, capsys: pytest.CaptureFixture[str], code: int, words: str, arguments: list[str]
) -> None:
    (place / "empty").mkdir()
    (place / "one" / "3").mkdir(parents=True)
    for number in range(30):
        Image.fromarray(np.full((8, 8), number, dtype=np.uint8)).save(place / "one" / "3" / f"{number}.png")
    np.savez("wrong.npz", x=np.zeros((50, 3, 9), dtype=np.float32), y=np.arange(50) % 10)
    assert run(["train", *arguments, "-o", "out"]) == code
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert not list(place.glob("out*"))


def test_methods_list_the_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", "trades"]) == 0
    told = capsys.readouterr().out
    assert "Zhang et al. 2019" in told
    assert "trades.beta = 6.0" in told


def test_the_table_is_told_to_terminals_alone(place: Path) -> None:
    import pty

    shown, end = pty.openpty()
    process = subprocess.Popen(command(*TRAIN, "--epochs", "2", "-o", "out"), stderr=end, stdout=subprocess.DEVNULL)
    os.close(end)
    told = b""
    while True:
        try:
            part = os.read(shown, 4096)
        except OSError:
            break
        if not part:
            break
        told += part
    assert process.wait() == 0
    text = told.decode(errors="replace")
    assert "epoch" in text
    assert "certified" in text
    assert re.search(r"\b2 +\d\.\d{4} +\d+\.\d %", text)
