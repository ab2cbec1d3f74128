"""xai verify as its users use it, and misuse it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_attack import Branching, Net, inputs, told
from tests.cli.test_bounds import CARD, Rounded, write
from tests.engine.test_verify import comparable
from xai.api import load, verify
from xai.cli import verify as verb
from xai.cli.main import run
from xai.reports.artefacts import get, get_rows
from xai.reports.folder import open_run

Captured = pytest.CaptureFixture[str]
STATEMENTS = """
properties:
  - name: the scores are ordered
    require: y[0] - y[1] >= {limit}
    box: [0, 1]
  - name: the third stays small
    output: cat
    between: [-100, 100]
    box: [0, 1]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(Net(), "net")
    x, y = inputs(8)
    np.savez("data.npz", x=x, y=y)
    for number in range(2):
        Image.fromarray((x[number, 0] * 255).round().astype(np.uint8)).save(f"{number}.png")
    return tmp_path


def reach() -> np.ndarray:
    """Return how far each of the inputs is from the nearest border in linf, if there were no range."""
    x, y = inputs(8)
    weight = Net().weight.detach().double().numpy()
    scores = x.reshape(8, -1).astype(np.float64) @ weight
    gaps = np.abs(weight[:, y][:, :, None] - weight[:, None]).sum(0)
    own = scores[np.arange(8), y][:, None] - scores
    return np.where(gaps > 0, own / np.maximum(gaps, 1e-9), np.inf).min(1)


def test_what_is_proved_becomes_a_report_and_an_exit_code(place: Path, capsys: Captured) -> None:
    eps = float(np.sort(reach())[3:5].mean())
    assert run(["verify", "net.pt2", "data.npz", "--eps", str(eps), "--timeout", "5", "-o", "out"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "out/report.html\n"
    assert f"verified accuracy at {eps}: 50.00 % of 8 (" in captured.err
    assert f"violated: at most 0.5000 are right within {eps}, and at least 1 was required" in captured.err
    found = open_run(place / "out")
    rows = list(get_rows(found.store, found.findings[0].artefacts["rows"]))
    assert [row["verdict"] for row in rows] == ["holds" if eps < one else "violated" for one in reach()]
    report = (place / "out" / "report.html").read_text()
    assert "What is proved of" in report
    assert "What changed" in report
    assert not (place / "out.partial").exists()
    assert not (place / "out" / "shards").exists()


def test_it_exits_with_what_became_of_the_requirement(place: Path, capsys: Captured) -> None:
    eps = float(np.sort(reach())[3:5].mean())
    asked = ["verify", "net.pt2", "data.npz", "--eps", str(eps), "--timeout", "5", "--examples", "0"]
    assert run([*asked, "--fail-under", "0.5", "-o", "met"]) == 0
    assert run([*asked, "--fail-under", "0.6", "-o", "less"]) == 1
    assert run(["verify", "net.pt2", "data.npz", "--eps", str(min(reach()) / 2), "-o", "all"]) == 0
    capsys.readouterr()
    write(Rounded(), "rounded")
    assert run(["verify", "rounded.pt2", "0.png", "--eps", "1e-9", "-o", "open"]) == 5
    assert told(capsys)[-1].startswith("not decided: 0.0000 are proved to be right within 1e-9")


def test_an_image_that_is_wrong_without_a_change_is_not_verified(place: Path) -> None:
    x, y = inputs(3)
    np.savez("wrong.npz", x=x, y=(y + 1) % 4)
    assert run(["verify", "net.pt2", "wrong.npz", "--eps", "1e-6", "-o", "out"]) == 1
    found = open_run(place / "out")
    rows = list(get_rows(found.store, found.findings[0].artefacts["rows"]))
    assert [row["verdict"] for row in rows] == [None] * 3
    assert "the right answer is" in (place / "out" / "report.html").read_text()


def test_the_recorded_command_makes_the_run_again_and_so_does_the_api(place: Path) -> None:
    options = ["--eps", "0.05", "--seed", "4", "--limit", "5", "--norm", "l2", "--arithmetic", "float"]
    code = run(["verify", "net.pt2", "data.npz", *options, "-o", "one"])
    first = open_run(place / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == code
    second = open_run(place / "two")
    called = verify(load("net.pt2", seed=4), "data.npz", eps="0.05", seed=4, limit=5, norm="l2", arithmetic="float")
    assert comparable(second) == comparable(first) == comparable(called)
    assert called.record.command == (
        "xai.verify(xai.load('net.pt2', seed=4), 'data.npz', eps='0.05', norm='l2', arithmetic='float', limit=5, "
        "seed=4)"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no MODEL was given"),
        (["net.pt2"], 2, "nothing was given to verify"),
        (["net.pt2", "data.npz"], 2, "--eps is missing"),
        (["net.pt2", "data.npz", "--eps", "2"], 2, "epsilon 2 allows every input"),
        (["net.pt2", "data.npz", "--eps", "0.1,0.2"], 2, "expected a number"),
        (["net.pt2", "data.npz", "--eps", "0.1", "--norm", "l3"], 2, "there is no norm 'l3'; did you mean"),
        (["net.pt2", "data.npz", "--eps", "0.1", "--timeout", "0"], 2, "timeout: expected a number of seconds above 0"),
        (["net.pt2", "data.npz", "--eps", "0.1", "--arithmetic", "reel"], 2, "did you mean 'real'"),
        (["net.pt2", "data.npz", "--eps", "0.1", "--resume"], 2, "--resume was given without -o"),
        (["net.pt2", "empty", "--eps", "0.1"], 2, "empty"),
        (["net.pt2", "nowhere.png", "--eps", "0.1"], 2, "nowhere.png do not exist"),
        (["net.pt2", "broken.png", "--eps", "0.1"], 4, "broken"),
        (["nowhere.pt", "data.npz", "--eps", "0.1"], 2, "nowhere.pt"),
        (["net.pt2", "data.npz", "--properties", "good.yaml"], 2, "DATA was given, and --properties says"),
        (["net.pt2", "--properties", "good.yaml", "--eps", "0.1"], 2, "--eps was given, and --properties says"),
        (["net.pt2", "--properties", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["net.pt2", "--properties", "unfit.yaml"], 4, "require"),
        (["net.pt2", "--properties", "bad.yaml"], 4, "expected one of never"),
        (["net.pt2", "a.vnnlib", "b.vnnlib"], 2, "expected one VNN-LIB file"),
        (["net.pt2", "a.vnnlib", "--eps", "0.1"], 2, "--eps was given, and a VNN-LIB file says"),
        (["net.pt2", "--instances", "list.csv"], 2, "MODEL was given, and --instances names all"),
        (["values.pt2", "data.npz", "--eps", "0.1"], 2, "outputs are values"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    place: Path, capsys: Captured, arguments: list[str], code: int, message: str
) -> None:
    (place / "empty").mkdir()
    (place / "broken.png").write_bytes((place / "0.png").read_bytes()[:40])
    Path("good.yaml").write_text(STATEMENTS.format(limit=-100))
    Path("unfit.yaml").write_text("properties:\n  - require: y[9] >= 0\n    box: [0, 1]\n")
    Path("bad.yaml").write_text("properties:\n  - box: [0, 1]\n")
    if arguments[:1] == ["values.pt2"]:
        write(Net(), "values", f"{CARD}output: values\n")
    assert run(["verify", *arguments]) == code
    lines = told(capsys)
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert not list(place.glob("xai-runs/*"))


@pytest.mark.parametrize(("limit", "code", "verdict"), [(-100, 0, "holds"), (0, 1, "violated")])
def test_properties_of_a_file_are_told_one_by_one(
    place: Path, capsys: Captured, limit: int, code: int, verdict: str
) -> None:
    Path("p.yaml").write_text(STATEMENTS.format(limit=limit))
    assert run(["verify", "net.pt2", "--properties", "p.yaml", "--timeout", "10", "-o", "out"]) == code
    assert told(capsys)[-2:] == [f"{verdict}: the scores are ordered", "holds: the third stays small"]
    found = open_run(place / "out")
    assert [finding.verdict for finding in found.findings] == [verdict, "holds"]
    report = (place / "out" / "report.html").read_text()
    assert "The properties" in report
    if verdict == "violated":
        point = torch.from_numpy(get(found.store, found.findings[0].artefacts["counterexample"]))
        outputs = Net()(point)[0]
        assert outputs[0] < outputs[1]
        assert ((point >= 0) & (point <= 1)).all()
        assert "The input that violates it" in report or "the input that violates it" in report


def test_a_pair_that_violates_is_two_inputs_that_the_model_was_asked_about(place: Path, capsys: Captured) -> None:
    Path("p.yaml").write_text(
        "properties:\n  - increasing: 3\n    output: ant\n    tolerance: 0.01\n    box: [0, 1]\n"
        "  - decreasing: 3\n    output: ant\n    tolerance: 0.01\n    box: [0, 1]\n"
    )
    rises = bool(Net().weight[3, 0] > 0)
    assert run(["verify", "net.pt2", "--properties", "p.yaml", "--timeout", "10", "-o", "out"]) == 1
    found = open_run(place / "out")
    assert [finding.verdict for finding in found.findings] == (
        ["holds", "violated"] if rises else ["violated", "holds"]
    )
    finding = found.findings[1 if rises else 0]
    first, second = torch.from_numpy(get(found.store, finding.artefacts["counterexample"])).flatten(1)
    assert second[3] > first[3]
    assert torch.equal(first[torch.arange(20) != 3], second[torch.arange(20) != 3])
    outputs = get(found.store, finding.artefacts["outputs"])[:, 0]
    assert (outputs[1] > outputs[0] + 0.01) if rises else (outputs[1] < outputs[0] - 0.01)
    assert "the second less the first" in (place / "out" / "report.html").read_text()


def test_properties_of_what_cannot_be_bounded_are_not_decided(place: Path, capsys: Captured) -> None:
    write(Rounded(), "rounded")
    Path("p.yaml").write_text(STATEMENTS.format(limit=-100))
    assert run(["verify", "rounded.pt2", "--properties", "p.yaml", "-o", "out"]) == 5
    assert open_run(place / "out").findings[0].values["reason"].value == (
        "floor in layer steps: there is no rule to bound this operator"
    )


def test_a_black_box_is_attacked_and_nothing_is_proved_of_it(place: Path, capsys: Captured) -> None:
    torch.jit.script(Branching()).save("box.pt")
    Path("box.yaml").write_text(CARD)
    assert run(["verify", "box.pt", "0.png", "--eps", "1e-9", "-o", "out"]) == 5
    finding = open_run(place / "out").findings[0]
    assert "the model is a black box" in finding.notes[0]
    assert finding.values["verified accuracy at 1e-9"].value == 0


def test_a_tenth_of_a_second_ends_in_time_with_what_is_known(place: Path, capsys: Captured) -> None:
    begun = time.monotonic()
    code = run(["verify", "sample:digits", "sample:digits:0-2", "--eps", "0.02", "--timeout", "0.1", "-o", "out"])
    assert code in (0, 1, 5)
    assert time.monotonic() - begun < 60
    whole = open_run(place / "out").findings[0]
    assert whole.status == "ok"
    assert whole.parameters["timeout"] == 0.1


def test_vnnlib_files_and_lists_go_their_own_way(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(verb, "one", lambda *given, **options: asked.append((given, options)) or 5)
    monkeypatch.setattr(verb, "many", lambda *given, **options: asked.append((given, options)) or 1)
    for name in ("p.vnnlib", "p.vnnlib.gz"):
        assert run(["verify", "net.onnx", name, "--timeout", "3", "-o", "out"]) == 5
        assert asked[-1] == (
            ("net.onnx", Path(name)),
            {
                "timeout": 3.0,
                "arithmetic": None,
                "seed": 0,
                "device": "auto",
                "arch": None,
                "card": None,
                "trust_model": False,
                "output": Path("out"),
                "proof": None,
            },
        )
    assert run(["verify", "--instances", "list.csv", "--jobs", "2", "--resume", "-o", "out"]) == 1
    assert asked[-1] == (
        (Path("list.csv"),),
        {
            "timeout": None,
            "arithmetic": None,
            "seed": 0,
            "device": "auto",
            "jobs": 2,
            "output": Path("out"),
            "resume": True,
            "overwrite": False,
        },
    )


def test_json_prints_the_record(place: Path, capsys: Captured) -> None:
    run(["verify", "net.pt2", "0.png", "--eps", "0.001", "--json", "-o", "out"])
    assert json.loads(capsys.readouterr().out)["verb"] == "verify"


def test_a_killed_run_is_gone_on_with(place: Path) -> None:
    x, y = inputs(25)
    np.savez("large.npz", x=x, y=y)
    slow = ["--eps", "0.01", "--examples", "0", "--jobs", "1", "-o", "out"]
    command = [sys.executable, "-m", "xai.cli", "verify", "net.pt2", "large.npz", *slow]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list(place.glob("out.partial/shards/000*"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    done = {file: file.stat().st_mtime_ns for file in (place / "out.partial" / "shards").glob("000*")}
    assert not (place / "out").exists()
    assert run(["verify", "net.pt2", "large.npz", *slow]) == 2
    assert run(["verify", "net.pt2", "large.npz", *slow, "--resume", "--timeout", "1"]) == 2
    assert {file: file.stat().st_mtime_ns for file in done} == done
    code = run(["verify", "net.pt2", "large.npz", *slow, "--resume"])
    assert run(["verify", "net.pt2", "large.npz", *slow[:-1], "whole"]) == code
    one, two = (open_run(place / name) for name in ("out", "whole"))
    assert comparable(one) == comparable(two)


def test_a_stored_counterexample_is_put_before_the_model_again(place: Path, capsys: Captured) -> None:
    assert run(["verify", "net.pt2", "data.npz", "--eps", "0.3", "--timeout", "5", "-o", "out"]) == 1
    capsys.readouterr()
    assert run(["check", "out", "--model", "net.pt2"]) == 0
    captured = capsys.readouterr()
    assert "adversarial inputs, read again and put before the model and in onnxruntime" in captured.out + captured.err
