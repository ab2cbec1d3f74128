"""xai inspect as its users use it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import IMAGES
from tests.hostile.graphs import misnamed
from tests.networks import Branching, Linear, Small, seeded
from tests.reports.test_page import HOSTILE
from xai.api import inspect, load
from xai.cli.main import run
from xai.explainers.base import explainers
from xai.measures.base import measures
from xai.models.card import read_card
from xai.models.schema import text
from xai.reports.folder import open_run
from xai.reports.records import RunRecord

STAR = str(IMAGES / "star.png")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def script(here: Path) -> Path:
    torch.jit.save(torch.jit.trace(seeded(Small), torch.rand(1, 3, 16, 16)), "net.pt")
    Path("shape.yaml").write_text("input: {shape: [3, 16, 16]}")
    return Path("net.pt")


def test_the_summary_tells_what_was_understood_and_writes_nothing(here: Path, capsys: Captured) -> None:
    assert run(["inspect", "sample:shapes"]) == 0
    told = capsys.readouterr()
    words = " ".join(told.out.split()).replace("\u202f", " ").replace("\u00a0", " ")
    model = load("sample:shapes")
    for expected in (
        "source sample:shapes (safetensors)",
        f"fingerprint {model.fingerprint}",
        "input 3 x 64 x 64, values in [0, 1]",
        "normalised by mean 0, std 1",
        "outputs 6 logits: circle, square, triangle, ring, cross, star",
        "parameters 79 766",
        "multiply-adds 14 746 176 an input, of matrix products and convolutions",
        "maps are of layer features",
        "features.4 Conv2d 32 x 32 x 32 4 608 4 718 592",
        "head Linear 6 582 576",
    ):
        assert expected in words, expected
    assert all(name in words for name in (*explainers.all(), *measures.all()))
    assert told.err == ""
    assert list(here.iterdir()) == []


def test_what_cannot_run_is_told_with_its_reason(here: Path, capsys: Captured) -> None:
    torch.jit.save(torch.jit.script(Branching().eval()), "box.pt")
    Path("box.yaml").write_text("input: {shape: [3, 12, 10]}")
    assert run(["inspect", "box.pt"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "black box torch.export cannot follow this network: its data decide which operators run" in words
    assert "gradcam" in words[words.index("explanation cannot run:") :].partition("(it needs gradients and graph")[0]
    assert "explanation can run: kernelshap, lime, occlusion, rise" in words
    assert "attack can run: square" in words
    assert "assumed classes have no names: they are numbered" in words


def test_json_prints_the_record_and_nothing_else(here: Path, capsys: Captured) -> None:
    assert run(["inspect", "sample:shapes", "--json"]) == 0
    told = capsys.readouterr()
    record = RunRecord.model_validate_json(told.out)
    assert told.err == ""
    assert record.model == inspect(load("sample:shapes")).record.model
    assert (record.verb, record.inputs, record.findings) == ("inspect", (), ())


def test_a_folder_is_written_when_wanted_and_with_pictures_always(here: Path, capsys: Captured) -> None:
    assert run(["inspect", "sample:shapes", "-o", "out"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "out/report.html"
    assert "The network at a glance" in (here / "out" / "report.html").read_text()
    assert run(["inspect", "sample:shapes", STAR]) == 0
    assert capsys.readouterr().out == "xai-runs/inspect-shapes-1/report.html\n"
    assert run(["inspect", "sample:shapes", "-o", "out"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert run(["inspect", "sample:shapes", "-o", "out", "--overwrite"]) == 0


def test_the_recorded_command_makes_the_run_again(here: Path) -> None:
    assert run(["inspect", "sample:shapes", STAR, "--layer", "features.8", "--target", "ring", "-o", "one"]) == 0
    first = open_run(here / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    second = open_run(here / "two")
    assert second.record.findings[0].artefacts == first.record.findings[0].artefacts
    assert second.record.command == first.record.command
    theirs = inspect(load("sample:shapes"), STAR, "features.8", "ring").record
    assert theirs.findings[0].timeless() == first.record.findings[0].timeless()
    assert theirs.model == first.record.model


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ["sample:shapes", STAR, "--layer", "feature.8"],
            2,
            "there is no layer 'feature.8'; did you mean 'features.8'",
        ),
        (["sample:shapes", STAR, "--target", "stars"], 2, "did you mean 'star'"),
        (["sample:shapes", "--layer", "features.8"], 2, "--layer and --target are about the activations for a picture"),
        (["sample:shapes", "nowhere.png"], 2, "image nowhere.png does not exist"),
        (["nowhere.pt"], 2, "model nowhere.pt does not exist"),
        (["sample:shapes", "--write-card"], 2, "give the card's own path"),
        (["sample:shapes", "--write-card", "a.yaml", "b.yaml"], 2, "takes one path after MODEL, received 2"),
    ],
)
def test_what_does_not_fit_is_one_line(
    here: Path, capsys: Captured, arguments: list[str], code: int, told: str
) -> None:
    assert run(["inspect", *arguments]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (here / "xai-runs").exists()


def test_a_first_card_is_written_beside_the_model(script: Path, capsys: Captured) -> None:
    assert run(["inspect", "net.pt", "--card", "shape.yaml", "--write-card"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("card net.yaml: check what is guessed in it: classes, output, input.range")
    assert "input.shape" not in said
    assert read_card(Path("net.yaml"))["classes"] == [f"class {index}" for index in range(4)]
    assert "# guessed: classes have no names: they are numbered" in Path("net.yaml").read_text()
    assert run(["inspect", "net.pt", "--write-card"]) == 2
    assert "net.yaml exists and a card never replaces another: give another path" in capsys.readouterr().err
    assert run(["inspect", "net.pt", "--write-card", "other.yaml"]) == 0
    assert "nothing in it is guessed" in capsys.readouterr().err
    assert read_card(Path("other.yaml")) == read_card(Path("net.yaml"))


def test_the_cards_schema_is_printed(capsys: Captured) -> None:
    assert run(["inspect", "--card-schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == text()
    assert "classes" in json.loads(printed)["properties"]


def test_a_card_that_contradicts_the_network_is_refused(script: Path, capsys: Captured) -> None:
    Path("net.yaml").write_text("input: {shape: [1, 28, 28]}")
    assert run(["inspect", "net.pt"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: card net.yaml: input.shape [1, 28, 28]: the network takes 3 channels, not 1; ")


def test_hostile_names_reach_neither_terminal_nor_card(here: Path, capsys: Captured) -> None:
    torch.jit.save(torch.jit.trace(Linear().eval(), torch.rand(1, 3, 12, 10)), "net.pt")
    names = [HOSTILE, "\x1b[31m[red]", "c\n- d"]
    Path("own.yaml").write_text(json.dumps({"classes": names, "input": {"shape": [3, 12, 10]}, "name": "\x1b[2J[b]x"}))
    assert run(["inspect", "net.pt", "--card", "own.yaml", "--write-card"]) == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err + Path("net.yaml").read_text()
    assert "[red]" in told.out, "it is no markup"
    assert read_card(Path("net.yaml"))["classes"] == names


@pytest.mark.parametrize("name", ["a node", "alpha"])
def test_names_that_are_no_utf_8_are_shown_as_escapes_and_stdout_holds_the_record_alone(here: Path, name: str) -> None:
    """In a process of its own: onnxruntime would print a banner."""
    misnamed(name.encode())(here / "net.onnx")
    command = [sys.executable, "-m", "xai.cli", "inspect", "net.onnx", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    record = RunRecord.model_validate_json(told.stdout)
    shown = name[:-3] + r"\xff"
    assert shown in (record.model.layers[0].name if name == "a node" else " ".join(record.model.assumed))
    assert record.model.no_graph == ""
    assert told.stderr == ""
