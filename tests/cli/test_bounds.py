"""xai bounds as its users use it, and misuse it."""

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
from torch import nn

from tests.cli.test_attack import Branching, Net, inputs, told
from xai.api import bounds, load
from xai.cli.main import run
from xai.reports.artefacts import get
from xai.reports.folder import open_run

CARD = "name: scores\nclasses: [ant, bee, cat, dog]\ninput: {shape: [1, 4, 5], mean: [0.0], std: [1.0]}\n"
Captured = pytest.CaptureFixture[str]


class Rounded(nn.Module):
    """Has a step that no rule bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = Floor()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.steps(8 * x).flatten(1)[:, :4]  # type: ignore[no-any-return]  # modules are untyped


class Floor(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.floor()


def write(net: nn.Module, name: str, card: str = CARD) -> None:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net.eval(), (torch.rand(2, 1, 4, 5),), dynamic_shapes=({0: batch},))
    torch.export.save(program, f"{name}.pt2")
    Path(f"{name}.yaml").write_text(card)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(Net(), "net")
    x, y = inputs()
    np.savez("data.npz", x=x, y=y)
    for number in range(2):
        Image.fromarray((x[number, 0] * 255).round().astype(np.uint8)).save(f"{number}.png")
    return tmp_path


def test_two_images_become_a_report_with_their_verdicts(place: Path, capsys: Captured) -> None:
    assert run(["bounds", "net.pt2", "0.png", "1.png", "--eps", "1/255,0.2", "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out/report.html\n"
    found = open_run(place / "out")
    assert [finding.input for finding in found.findings] == [None, "image/0", "image/1"]
    for finding in found.findings[1:]:
        for size in ("1/255", "0.2"):
            verdict = finding.values[f"verdict at {size}"].value
            assert (
                f"{finding.input} within {size}: {verdict}; can win: {finding.values[f'can win at {size}'].value}"
                in (captured.err)
            )
        assert finding.values["verdict at 0.2"].value == finding.verdict == "violated"
    report = (place / "out" / "report.html").read_text()
    assert "What can the outputs of" in report
    assert report.count("enclosures") >= 4
    assert not (place / "out.partial").exists()
    assert not (place / "out" / "shards").exists()


def test_certified_accuracy_stands_beside_accuracy_under_attack(place: Path, capsys: Captured) -> None:
    assert run(["bounds", "net.pt2", "data.npz", "--eps", "0.01,0.03", "--largest", "-o", "out"]) == 0
    told_ = capsys.readouterr().err
    values = open_run(place / "out").findings[0].values
    for side in ("certified accuracy", "accuracy under attack"):
        assert f"{side} at 0.03: {100 * values[f'{side} at 0.03'].value:.2f} % of 30 (" in told_
    assert f"largest certified change, median: {values['largest certified change, median'].value:.4g}" in told_


def test_the_recorded_command_makes_the_run_again(place: Path) -> None:
    options = ["--eps", "0.05", "--set", "pgd.steps=3", "--seed", "4", "--limit", "20", "--largest", "--method", "ibp"]
    assert run(["bounds", "net.pt2", "data.npz", *options, "--arithmetic", "float", "-o", "one"]) == 0
    first = open_run(place / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    second = open_run(place / "two")
    assert [f.timeless() for f in second.findings] == [f.timeless() for f in first.findings]
    assert second.record.command == first.record.command
    assert run(["bounds", "net.pt2", "0.png", "1.png", "--layer", "matmul", "--eps", "0.1", "-o", "three"]) == 0
    assert run([*shlex.split(open_run(place / "three").record.command)[1:], "-o", "four"]) == 0


def test_the_api_gives_the_same_record(place: Path) -> None:
    assert run(["bounds", "net.pt2", "data.npz", "--eps", "0.05", "-o", "out"]) == 0
    called = bounds(load("net.pt2"), "data.npz", eps="0.05")
    kept = open_run(place / "out")
    assert [f.timeless() for f in called.findings] == [f.timeless() for f in kept.findings]
    np.testing.assert_array_equal(called["bounds"].lower, get(kept.store, kept.findings[0].artefacts["lower/000000"]))
    assert called.record.command.startswith("xai.bounds(xai.load('net.pt2'), 'data.npz', eps=['0.05']")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--eps", "2"], 2, "epsilon 2 allows every input"),
        (["--eps", "8"], 2, "8/255 was meant"),
        (["--eps", "-1"], 2, "not negative"),
        (["--eps", "nan"], 2, "not negative"),
        (["--eps", ""], 2, "no size of the change was given"),
        (["--norm", "l2"], 2, "name one in the norm l2"),
        (["--norm", "l3", "--eps", "1"], 2, "there is no norm 'l3'; did you mean"),
        (["--method", "corwn"], 2, "there is no method 'corwn'; did you mean 'crown'"),
        (["--method", "smooting"], 2, "did you mean 'smoothing'"),
        (["--arithmetic", "reel"], 2, "did you mean 'real'"),
        (["--layer", "matmol"], 2, "did you mean 'matmul'"),
        (["--attack-plan", "standart"], 2, "there is no attack 'standart'"),
        (["--attack-plan", "pgd", "--set", "fgsm.steps=3"], 2, "fgsm, which is not among those chosen"),
        (["--layer", "matmul", "--largest"], 2, "--largest was given"),
        (["--layer", "matmul", "--fail-under", "0.5"], 2, "--fail-under was given"),
        (["--method", "smoothing"], 2, "--sigma 0.25"),
        (["--method", "smoothing", "--sigma", "0"], 2, "sigma: expected a finite number above 0"),
        (["--method", "smoothing", "--sigma", "0.1", "--norm", "l1"], 2, "expected norm l2, received 'l1'"),
        (["--method", "smoothing", "--sigma", "0.1", "--norm", "linf"], 2, "expected norm l2, received 'linf'"),
        (["--method", "smoothing", "--sigma", "0.1", "--draws", "0"], 2, "n: expected a whole number from 1"),
        (["--method", "smoothing", "--sigma", "0.1", "--alpha", "1"], 2, "alpha: expected a number between 0 and 1"),
        (["--method", "smoothing", "--sigma", "0.1", "--layer", "matmul"], 2, "--layer was given"),
        (["--sigma", "0.1"], 2, "--sigma was given, and noise is drawn by --method smoothing alone"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--fail-under", "2"], 2, "--fail-under"),
        (["--resume"], 2, "--resume was given without -o"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    place: Path, capsys: Captured, options: list[str], code: int, message: str
) -> None:
    assert run(["bounds", "net.pt2", "data.npz", *options]) == code
    lines = told(capsys)
    assert len(lines) == 1
    assert message in lines[0]
    assert not (place / "xai-runs").exists()


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (["empty"], 2, "empty"),
        (["nowhere.png"], 2, "nowhere.png do not exist"),
        (["0.png", "nowhere.png"], 2, "image nowhere.png does not exist"),
        (["high.npz"], 4, "takes values in [0, 1], received"),
        (["far.npz"], 2, "100"),
        (["broken.png"], 4, "broken"),
    ],
)
def test_data_that_are_wrong_are_told_in_one_line(
    place: Path, capsys: Captured, data: list[str], code: int, message: str
) -> None:
    x, y = inputs()
    (place / "empty").mkdir()
    (place / "broken.png").write_bytes((place / "0.png").read_bytes()[:40])
    np.savez("high.npz", x=x * 255, y=y)
    np.savez("far.npz", x=x, y=y + 100)
    assert run(["bounds", "net.pt2", *data, "--eps", "0.1"]) == code
    lines = told(capsys)
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(place.glob("xai-runs/*"))


def test_one_unreadable_file_among_many_is_skipped_counted_and_listed(place: Path, capsys: Captured) -> None:
    x, _ = inputs(40)
    (place / "many").mkdir()
    for number, one in enumerate(x):
        Image.fromarray((one[0] * 255).round().astype(np.uint8)).save(place / "many" / f"{number:02}.png")
    broken = place / "many" / "07.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert run(["bounds", "net.pt2", "many", "--eps", "0.01", "--examples", "9", "-o", "out"]) == 0
    assert "1 of 40 images could not be read and are left out: 07" in capsys.readouterr().err
    found = open_run(place / "out")
    assert found.findings[0].values["accuracy"].n == 39
    assert [finding.input for finding in found.findings[6:9]] == ["05", "06", "08"]
    assert {finding.status for finding in found.findings} == {"ok"}


@pytest.mark.parametrize(
    ("least", "code", "word"), [("0.2", 0, ""), ("0.999", 1, "violated:"), ("0.9", 5, "not decided:")]
)
def test_what_is_required_holds_or_is_violated_or_not_decided(
    place: Path, capsys: Captured, least: str, code: int, word: str
) -> None:
    """IBP with an attack that finds little: what is certified and what stands lie apart."""
    torch.manual_seed(0)
    layers = [nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()]
    write(nn.Sequential(nn.Flatten(), *layers, nn.Linear(40, 4)), "deep")
    model, (x, _) = load("deep.pt2"), inputs(60)
    y = model(torch.from_numpy(x)).argmax(1).numpy()
    y[0] = (y[0] + 1) % 4
    np.savez("own.npz", x=x, y=y)
    reached = bounds(model, "own.npz", eps=[0.001, 0.02], method="ibp", examples=0).findings[0].values
    sides = [reached[f"{side} at 0.02"].value for side in ("certified accuracy", "accuracy under attack")]
    between = sum(sides) / 2
    assert sides[0] + 0.1 < between < sides[1] < 0.999
    least = {"0.2": f"{sides[0]}", "0.999": "0.999", "0.9": f"{between}"}[least]
    options = ["--eps", "0.001,0.02", "--method", "ibp", "--fail-under", least, "-o", "out"]
    assert run(["bounds", "deep.pt2", "own.npz", *options]) == code
    lines = [line for line in told(capsys) if line.startswith(("violated:", "not decided:"))]
    assert [line.startswith(word) for line in lines] == ([True] if word else [])


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--fail-under", "0.5"], 5)])
def test_a_black_box_is_skipped_with_the_reason_and_decides_nothing(
    place: Path, capsys: Captured, options: list[str], code: int
) -> None:
    torch.jit.script(Branching()).save("box.pt")
    Path("box.yaml").write_text(CARD)
    assert run(["bounds", "box.pt", "data.npz", "--eps", "0.1", *options, "-o", "out"]) == code
    assert any(
        line.startswith("skipped: Certified accuracy: it needs graph, and the model is a black box")
        for line in told(capsys)
    )
    assert "Certified accuracy was skipped" in (place / "out" / "report.html").read_text()


def test_an_operator_without_a_rule_is_named_with_its_layer(place: Path, capsys: Captured) -> None:
    write(Rounded(), "rounded")
    assert run(["bounds", "rounded.pt2", "0.png", "--eps", "0.1", "-o", "out"]) == 0
    assert "skipped: Certified accuracy: floor in layer steps: there is no rule to bound this operator" in told(capsys)


def test_a_regression_has_bounds_and_nothing_to_fail_under(place: Path, capsys: Captured) -> None:
    write(Net(), "values", f"{CARD}output: values\n")
    assert run(["bounds", "values.pt2", "0.png", "--eps", "0.1", "-o", "out"]) == 0
    assert "What the outputs can become" in (place / "out" / "report.html").read_text()
    assert run(["bounds", "values.pt2", "0.png", "--eps", "0.1", "--fail-under", "0.5"]) == 2
    assert "--fail-under was given" in told(capsys)[-1]
    assert run(["bounds", "values.pt2", "0.png", "--method", "smoothing", "--sigma", "0.1", "-o", "noise"]) == 0
    assert "no most frequent answer" in told(capsys)[-1]


def test_smoothing_is_told_as_statistics(place: Path, capsys: Captured) -> None:
    options = ["--method", "smoothing", "--sigma", "0.02", "--draws", "200", "--eps", "0.01,0.03"]
    assert run(["bounds", "net.pt2", "data.npz", *options, "-o", "out"]) == 0
    err = capsys.readouterr().err
    assert "Each statement is wrong with probability at most 0.001: of 30" in err
    report = (place / "out" / "report.html").read_text()
    assert "Statistics, no proof" in report
    assert "proved" not in report.partition("<main>")[2].partition("What it does not mean")[0]


def test_json_prints_the_record(place: Path, capsys: Captured) -> None:
    assert run(["bounds", "net.pt2", "data.npz", "--eps", "0.05", "--json", "-o", "out"]) == 0
    assert json.loads(capsys.readouterr().out)["verb"] == "bounds"


@pytest.mark.parametrize(
    "options",
    [
        ["--eps", "0.001,0.002,0.003", "--set", "pgd.steps=60"],
        ["--method", "smoothing", "--sigma", "0.1", "--draws", "20000"],
    ],
)
def test_a_killed_run_is_gone_on_with(place: Path, options: list[str]) -> None:
    x, y = inputs(300 if "--eps" in options else 5)
    np.savez("large.npz", x=x, y=y)
    slow = [*options, "--jobs", "1", "-o", "out"]
    command = [sys.executable, "-m", "xai.cli", "bounds", "net.pt2", "large.npz", *slow]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(place.glob("out.partial/shards/000*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    assert not (place / "out").exists()
    assert run(["bounds", "net.pt2", "large.npz", *slow]) == 2
    assert run(["bounds", "net.pt2", "large.npz", *slow, "--resume", "--seed", "1"]) == 2
    assert run(["bounds", "net.pt2", "large.npz", *slow, "--resume"]) == 0
    assert run(["bounds", "net.pt2", "large.npz", *slow[:-1], "whole"]) == 0
    one, two = (open_run(place / name) for name in ("out", "whole"))
    assert [found.values for found in one.findings] == [found.values for found in two.findings]
    assert one.findings[0].artefacts == two.findings[0].artefacts
