"""xai attack as its users use it, and misuse it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xai.api import attack, load
from xai.cli.main import run
from xai.reports.artefacts import get_rows
from xai.reports.folder import open_run

CARD = "name: scores\nclasses: [ant, bee, cat, dog]\ninput: {shape: [1, 4, 5], mean: [0.0], std: [1.0]}\n"


class Net(torch.nn.Module):
    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(20, classes, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight


def inputs(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    x = torch.rand(count, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    return x.numpy(), Net()(x).argmax(1).numpy()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Net(), (torch.rand(2, 1, 4, 5),), dynamic_shapes=({0: batch},))
    torch.export.save(program, "net.pt2")
    Path("net.yaml").write_text(CARD)
    x, y = inputs()
    np.savez("data.npz", x=x, y=y)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("assumed:", "note:"))]


def test_a_report_its_record_and_its_figures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "net.pt2", "data.npz", "--eps", "0.02,8/255", "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out/report.html\n"
    assert "accuracy: 100.00 % of 30" in captured.err
    found = open_run(place / "out").findings[0]
    assert f"robust accuracy at 8/255: {100 * found.values['robust accuracy at 8/255'].value:.2f} %" in captured.err
    assert not (place / "out.partial").exists()
    assert not (place / "out" / "shards").exists()
    assert "Accuracy under attack" in (place / "out" / "report.html").read_text()


def test_the_recorded_command_makes_the_run_again(place: Path) -> None:
    options = ["--attack", "pgd", "--eps", "0.05", "--set", "pgd.steps=3", "--seed", "4", "--limit", "20"]
    more = ["--corruptions", "brightness", "--severities", "2"]
    assert run(["attack", "net.pt2", "data.npz", *options, *more, "-o", "one"]) == 0
    first = open_run(place / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    second = open_run(place / "two")
    assert [f.timeless() for f in second.findings] == [f.timeless() for f in first.findings]
    assert second.record.command == first.record.command


def test_the_api_gives_the_same_record(place: Path) -> None:
    assert run(["attack", "net.pt2", "data.npz", "--eps", "0.05", "-o", "out"]) == 0
    called = attack(load("net.pt2"), "data.npz", eps="0.05")
    assert [f.timeless() for f in called.findings] == [f.timeless() for f in open_run(place / "out").findings]
    assert (
        called["robustness"].rows[0]["id"] == next(get_rows(called.store, called.findings[0].artefacts["rows"]))["id"]
    )
    assert called.record.command.startswith("xai.attack(xai.load('net.pt2'), 'data.npz'")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--eps", "2"], 2, "epsilon 2 allows every input"),
        (["--eps", "8"], 2, "8/255 was meant"),
        (["--eps", "-1"], 2, "not negative"),
        (["--eps", "a lot"], 2, "such as 8/255"),
        (["--norm", "l2"], 2, "name one in the norm l2"),
        (["--norm", "L2", "--eps", "1"], 2, "there is no norm 'L2'; did you mean 'l2'"),
        (["--attack", "pdg"], 2, "did you mean 'pgd'"),
        (["--attack", "pgd", "--plan", "standard"], 2, "name one of them"),
        (["--target", "cow"], 2, "there is no class 'cow'"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--severities", "6", "--corruptions", "fog"], 2, "severity"),
        (["--severities", "high", "--corruptions", "fog"], 2, "from 1 to 5"),
        (["--resume"], 2, "--resume was given without -o"),
        (["--attack", "none"], 2, "nothing"),
        (["--attack", "ddn", "--norm", "l2", "--fail-under", "0.9"], 2, "no attack within a size; name one with --eps"),
        (["--attack", "none", "--corruptions", "fog", "--fail-under", "0.9"], 2, "no attack within a size"),
        (["--attack", "none", "--corruptions", "fog", "--target", "bee"], 2, "no attack was named that could use it"),
        (["--severities", "3", "--eps", "0.1"], 2, "--severities was given without --corruptions"),
        (["--surrogate-card", "net.yaml", "--eps", "0.1"], 2, "without --surrogate"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    assert run(["attack", "net.pt2", "data.npz", *options]) == code
    lines = told(capsys)
    assert len(lines) == 1
    assert message in lines[0]
    assert not (place / "xai-runs").exists()


def data(name: str) -> str:
    """Write data that are wrong in one way; return what is given on the command line."""
    x, y = inputs()
    if name == "empty folder":
        Path("empty").mkdir()
        return "empty"
    if name == "wrong class":
        for label in ("ant", "cow"):
            Path("sorted", label).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(f"sorted/{label}/one.png")
        return "sorted"
    if name == "label out of range":
        np.savez("far.npz", x=x, y=y + 100)
        return "far.npz"
    if name == "values outside":
        np.savez("high.npz", x=x * 255, y=y)
        return "high.npz"
    if name == "fewer labels":
        np.savez("few.npz", x=x, y=y[:7])
        return "few.npz"
    return "nowhere"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("empty folder", 2, "empty"),
        ("wrong class", 2, "'cow'"),
        ("label out of range", 2, "100"),
        ("values outside", 4, "takes values in [0, 1], received"),
        ("fewer labels", 2, "7 labels"),
        ("nothing there", 2, "nowhere"),
    ],
)
def test_data_that_are_wrong_are_told_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, message: str
) -> None:
    assert run(["attack", "net.pt2", data(name), "--eps", "0.1"]) == code
    lines = told(capsys)
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(place.glob("xai-runs/*"))


def test_one_unreadable_file_among_a_thousand_is_skipped_counted_and_listed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = inputs(1000)
    for index, (one, label) in enumerate(zip(x, y, strict=True)):
        folder = place / "many" / ["ant", "bee", "cat", "dog"][label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((one[0] * 255).round().astype(np.uint8)).save(folder / f"{index:04}.png")
    broken = sorted((place / "many" / "bee").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:40])
    assert run(["attack", "net.pt2", "many", "--attack", "fgsm", "--eps", "0.01", "-o", "out"]) == 0
    note = next(line for line in capsys.readouterr().err.splitlines() if "could not be read" in line)
    assert f"1 of 1000 images could not be read and are left out: bee/{broken.stem}" in note
    assert open_run(place / "out").findings[0].values["accuracy"].n == 999


def test_epsilon_zero_changes_nothing(place: Path) -> None:
    assert run(["attack", "net.pt2", "data.npz", "--eps", "0", "-o", "out"]) == 0
    values = open_run(place / "out").findings[0].values
    assert values["robust accuracy at 0"].value == values["accuracy"].value == 1


def test_three_classes_are_too_few_for_the_targeted_ratio(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = torch.export.export(
        Net(3), (torch.rand(2, 1, 4, 5),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    torch.export.save(program, "three.pt2")
    Path("three.yaml").write_text(CARD.replace(", dog", ""))
    x, _ = inputs()
    np.savez("three.npz", x=x)
    assert run(["attack", "three.pt2", "three.npz", "--attack", "apgd-t", "--eps", "0.1"]) == 2
    assert "needs at least 4 classes; the model has 3" in told(capsys)[0]
    assert run(["attack", "three.pt2", "three.npz", "--attack", "apgd-t,pgd", "--eps", "0.1", "-o", "out"]) == 0
    statuses = {finding.method: finding.status for finding in open_run(place / "out").findings}
    assert {name: statuses[name] for name in ("robustness", "pgd", "apgd-t")} == {
        "robustness": "ok",
        "pgd": "ok",
        "apgd-t": "skipped",
    }


def test_a_black_box_is_told_which_attack_needs_no_gradients(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.nn.Sequential(), "unused.pt")
    scripted = torch.jit.script(Branching())
    scripted.save("box.pt")
    Path("box.yaml").write_text(CARD)
    assert run(["attack", "box.pt", "data.npz", "--attack", "pgd", "--eps", "0.1"]) == 2
    line = told(capsys)[0]
    assert "PGD: it needs gradients, and the model is a black box" in line
    assert "without gradients there is: square" in line
    assert (
        run(
            [
                "attack",
                "box.pt",
                "data.npz",
                "--attack",
                "square",
                "--set",
                "square.queries=50",
                "--eps",
                "0.2",
                "-o",
                "out",
            ]
        )
        == 0
    )
    assert open_run(place / "out").findings[0].values["robust accuracy at 0.2"].value < 1


class Branching(torch.nn.Module):
    """Cannot be followed as a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return self.inner(x)
        return -self.inner(x)


@pytest.mark.parametrize(("least", "code"), [("0.99", 1), ("0.01", 0)])
def test_less_than_was_required_is_exit_code_1(
    place: Path, capsys: pytest.CaptureFixture[str], least: str, code: int
) -> None:
    options = ["--eps", "0.03", "--fail-under", least, "-o", "out"]
    assert run(["attack", "net.pt2", "data.npz", *options]) == code
    assert any(line.startswith("violated:") for line in told(capsys)) == bool(code)


def test_a_killed_run_is_gone_on_with(place: Path) -> None:
    x, y = inputs(4000)
    np.savez("large.npz", x=x, y=y)
    slow = ["--eps", "0.001,0.002,0.003", "--set", "pgd.steps=60", "--jobs", "1", "-o", "out"]
    command = [sys.executable, "-m", "xai.cli", "attack", "net.pt2", "large.npz", *slow]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(place.glob("out.partial/shards/000*.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    assert not (place / "out").exists()
    done = {path.name: path.stat().st_mtime_ns for path in place.glob("out.partial/shards/0*.json")}
    assert 1 <= len(done) < 30
    assert run(["attack", "net.pt2", "large.npz", *slow]) == 2
    assert run(["attack", "net.pt2", "large.npz", *slow, "--resume", "--seed", "1"]) == 2
    kept = {path.name: path.stat().st_mtime_ns for path in place.glob("out.partial/shards/0*.json")}
    assert kept == done
    assert run(["attack", "net.pt2", "large.npz", *slow, "--resume"]) == 0
    assert run(["attack", "net.pt2", "large.npz", *slow[:-1], "whole"]) == 0
    one, two = (open_run(place / name) for name in ("out", "whole"))
    values = [[finding.values for finding in found.findings] for found in (one, two)]
    assert values[0] == values[1]
    assert one.findings[0].artefacts == two.findings[0].artefacts


def test_a_resumed_run_that_never_began_begins(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A loop that repeats a killed command until it ends must not trip over a kill before the first file."""
    assert run(["attack", "net.pt2", "data.npz", "--eps", "0.05", "--resume", "-o", "out"]) == 0
    assert "note: out has no killed run to go on with: this one begins" in capsys.readouterr().err
    assert open_run(place / "out").record.verb == "attack"
    assert not list((place / "out").glob(".*"))
    assert not (place / "out.partial").exists()


def test_json_prints_the_record(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "net.pt2", "data.npz", "--eps", "0.05", "--json", "-o", "out"]) == 0
    assert json.loads(capsys.readouterr().out)["verb"] == "attack"


def test_smallest_changes_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "net.pt2", "data.npz", "--attack", "ddn", "--norm", "l2", "--limit", "9", "-o", "out"]) == 0
    median = open_run(place / "out").findings[0].values["smallest change, median"].value
    assert f"smallest change, median: {median:.4g} (l2" in capsys.readouterr().err
