"""xai verify of VNN-LIB properties, and xai check of the proofs."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.robustness.verify.files import write_net, write_property
from xai.cli.main import run

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two inputs of size 1: the first output, |x| + |y|, reaches 2 and no more."""
    monkeypatch.chdir(tmp_path)
    write_net(Path("net.onnx"))
    write_property(Path("reached.vnnlib"), 1.99)
    write_property(Path("never.vnnlib"), 2.01)
    return tmp_path


@pytest.mark.parametrize(("name", "word", "code"), [("reached", "sat", 1), ("never", "unsat", 0)])
def test_the_first_line_is_the_word_and_the_code_says_it_too(
    place: Path, capsys: Captured, name: str, word: str, code: int
) -> None:
    assert run(["verify", "net.onnx", f"{name}.vnnlib", "-o", "answer.txt"]) == code
    told = capsys.readouterr().out
    assert told.splitlines()[0] == word
    assert Path("answer.txt").read_text() == told
    assert ("(X_0 " in told) == (word == "sat")


@pytest.mark.parametrize("constraint", ["(<= Y_0 0)", "(<= Y_0 Y_1)", "(>= Y_1 0)"])
def test_a_limit_that_is_met_exactly_is_met(place: Path, capsys: Captured, constraint: str) -> None:
    """y = (relu(-1 - |x|), same): 0 everywhere, which bounds with room for rounding never say."""
    weights = [np.array([[-1.0, 0.0], [0.0, -1.0]], dtype=np.float32), np.full(2, -1.0, dtype=np.float32)]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Relu", ["z"], ["y"])],
        "dead",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(one, name) for one, name in zip(weights, "wb", strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "dead.onnx")
    text = Path("never.vnnlib").read_text()
    Path("dead.vnnlib").write_text(text[: text.rindex("(assert")] + f"(assert {constraint})\n")
    assert run(["verify", "dead.onnx", "dead.vnnlib", "--timeout", "5"]) == 1
    assert capsys.readouterr().out.startswith("sat\n")


def test_what_takes_too_long_is_a_timeout(place: Path, capsys: Captured) -> None:
    write_net(Path("hard.onnx"), inputs=10, hidden=100)
    write_property(Path("hard.vnnlib"), 40, inputs=10, reach=3)
    assert run(["verify", "hard.onnx", "hard.vnnlib", "--timeout", "0.1"]) == 5
    told = capsys.readouterr()
    assert told.out == "timeout\n"
    assert "time is up" in told.err


SCARCE = """
import resource, sys
from pathlib import Path
import torch
import xai.engine.vnnlib as engine
from xai.cli.main import run
guarded = engine.guarded
def scarce(search):
    torch.set_num_threads(1)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 60 * 2**20,) * 2)
    return guarded(search)
engine.guarded = scarce
sys.exit(run(sys.argv[1:]))
"""


def test_too_little_memory_for_a_search_decides_nothing_and_is_told(place: Path) -> None:
    write_net(Path("big.onnx"), inputs=400, hidden=1500)
    write_property(Path("big.vnnlib"), 400, inputs=400, reach=0.1)
    asked = ["verify", "big.onnx", "big.vnnlib", "--timeout", "20"]
    done = subprocess.run([sys.executable, "-c", SCARCE, *asked], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("unknown\n", 5), done.stderr
    assert "too little memory for the search" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_proof_is_checked_by_others_and_about_what_was_asked_alone(place: Path, capsys: Captured) -> None:
    assert run(["verify", "net.onnx", "never.vnnlib", "--proof", "never.proof"]) == 0
    check = ["check", "never.proof", "--model", "net.onnx"]
    capsys.readouterr()
    assert run([*check, "--property", "never.vnnlib"]) == 0
    assert capsys.readouterr().out.startswith("checked: 1 case")
    assert run([*check, "--property", "reached.vnnlib"]) == 1
    write_net(Path("other.onnx"), hidden=4)
    assert run(["check", "never.proof", "--model", "other.onnx"]) == 1
    whole = Path("never.proof").read_bytes()
    Path("never.proof").write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    capsys.readouterr()
    assert run(check) in (1, 4)
    assert run(["check", "never.proof"]) == 2
    assert "--model" in capsys.readouterr().err


def test_of_what_is_not_proved_there_is_no_proof(place: Path, capsys: Captured) -> None:
    assert run(["verify", "net.onnx", "reached.vnnlib", "--proof", "reached.proof"]) == 1
    assert "no proof was written" in capsys.readouterr().err
    assert not Path("reached.proof").exists()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("(declare-const X_0 Real", 4, "line 1"),
        ("(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (>= X_0 0))\n(assert (>= Y_0 1))", 4, "X_0"),
        (
            "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (>= X_0 1))\n(assert (<= X_0 0))\n"
            "(assert (>= Y_0 1))",
            4,
            "no input",
        ),
    ],
)
def test_a_property_that_asks_nothing_is_refused(
    place: Path, capsys: Captured, text: str, code: int, words: str
) -> None:
    Path("bad.vnnlib").write_text(text)
    assert run(["verify", "net.onnx", "bad.vnnlib"]) == code
    assert words in capsys.readouterr().err


def test_wrong_use_is_told_with_what_to_do(place: Path, capsys: Captured) -> None:
    write_property(Path("three.vnnlib"), 1, inputs=3)
    for arguments, words in (
        (["net.onnx", "three.vnnlib"], "expected a network of 3 inputs"),
        (["net.onnx", "missing.vnnlib"], "does not exist"),
        (["net.onnx", "never.vnnlib", "--arithmetic", "imaginary"], "there is no arithmetic 'imaginary'"),
        (["net.onnx", "never.vnnlib", "--eps", "0.1"], "--eps"),
        (["net.onnx", "never.vnnlib", "--resume"], "--resume was given"),
        (["net.onnx", "never.vnnlib", "--json"], "--json was given"),
        (["net.onnx", "never.vnnlib", "--proof", "none/a.proof"], "there is no folder none"),
        (["net.onnx", "never.vnnlib", "-o", "none/a.txt"], "there is no folder none"),
        (["--instances", "missing.csv"], "missing.csv"),
    ):
        assert run(["verify", *arguments]) == 2, arguments
        assert words in capsys.readouterr().err


def written_list(place: Path) -> Path:
    write_net(place / "hard.onnx", inputs=10, hidden=100)
    write_property(place / "hard.vnnlib", 40, inputs=10, reach=3)
    file = place / "instances.csv"
    rows = ["net.onnx,reached.vnnlib,20,sat", "net.onnx,never.vnnlib,20,sat", "hard.onnx,hard.vnnlib,1,unknown"]
    file.write_text("\n".join(["onnx,vnnlib,timeout,expected", *rows]) + "\n")
    return file


def test_a_list_is_compared_with_what_was_expected(place: Path, capsys: Captured) -> None:
    assert run(["verify", "--instances", str(written_list(place)), "-o", "run"]) == 1
    told = capsys.readouterr()
    assert "1 of 2 as expected, 1 not" in told.out
    assert "unsat, but sat was expected" in told.err
    rows = list(csv.DictReader(Path("run/results.csv").read_text().splitlines()))
    assert [row["word"] for row in rows] == ["sat", "unsat", "timeout"]


def test_a_killed_list_goes_on(place: Path, capsys: Captured) -> None:
    file = written_list(place)
    file.write_text(file.read_text().replace("vnnlib,1,", "vnnlib,60,"))
    command = [sys.executable, "-m", "xai.cli", "verify", "--instances", str(file), "-o", "run", "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    done = Path("run.partial/shards/000001.json")
    until = time.monotonic() + 120
    while not done.exists() and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = done.read_text()
    assert run(["verify", "--instances", str(file), "-o", "run", "--jobs", "1", "--resume", "--timeout", "1"]) == 2
    assert "another run" in capsys.readouterr().err
    process = subprocess.Popen([*command, "--resume"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    told = [process.stderr.readline() for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert all("of 3: net.onnx" in line for line in told)
    assert done.read_text() == before
