from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import xai
from tests.robustness.verify.files import write_net, write_property
from xai.engine import instances
from xai.engine.deciding import plan_deciding
from xai.engine.instances import Asked, Solved, solve
from xai.engine.shards import OtherRunError
from xai.engine.vnnlib import answer
from xai.errors import UsageError
from xai.robustness.verify.instances import Instance, read_instances


@pytest.fixture
def problems(tmp_path: Path) -> list[Instance]:
    """Two inputs of size 1: |x| + |y| reaches 2 and no more."""
    write_net(tmp_path / "net.onnx")
    write_property(tmp_path / "reached.vnnlib", 1.99)
    write_property(tmp_path / "never.vnnlib", 2.01)
    (tmp_path / "broken.vnnlib").write_text("(assert (<= X_0")
    (tmp_path / "instances.csv").write_text(
        "onnx,vnnlib,timeout,expected\nnet.onnx,reached.vnnlib,20,sat\nnet.onnx,never.vnnlib,20,unsat\n"
        "net.onnx,broken.vnnlib,20,unknown\n"
    )
    return read_instances(tmp_path / "instances.csv")


def test_a_counterexample_is_one_where_it_is_asked_again(problems: list[Instance]) -> None:
    model = xai.load(problems[0].onnx)
    found = answer(plan_deciding(model, timeout=20), problems[0].vnnlib, 0)
    assert found.word == "sat"
    numbers = [float(line.strip(" ()").split()[1]) for line in found.counterexample.splitlines()]
    assert abs(numbers[0]) + abs(numbers[1]) == pytest.approx(numbers[2])
    assert numbers[2] >= 1.99
    assert max(map(abs, numbers[:2])) <= 1
    assert any("onnxruntime" in note for note in found.notes)
    assert answer(plan_deciding(model, timeout=20), problems[1].vnnlib, 0).word == "unsat"


def test_inputs_that_do_not_fit_are_told(problems: list[Instance], tmp_path: Path) -> None:
    other = write_property(tmp_path / "other.vnnlib", 1, inputs=3)
    with pytest.raises(UsageError, match="expected a network of 3 inputs"):
        answer(plan_deciding(xai.load(problems[0].onnx), timeout=5), other, 0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_list_is_worked_off_and_what_fails_does_not_stop_it(problems: list[Instance], jobs: int) -> None:
    told: list[int] = []
    found = solve(problems, Asked(), jobs=jobs, threads=1, tell=lambda solved, done: told.append(done))
    assert [one.word for one in found] == ["sat", "unsat", "error"]
    assert not any(one.is_wrong for one in found)
    assert "broken.vnnlib" in found[2].told
    assert told == [1, 2, 3]


def test_what_is_done_is_not_done_again(
    problems: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    first = solve(problems, Asked(), jobs=1, threads=1, folder=folder)
    monkeypatch.setattr(instances._Worker, "solve", None)
    assert solve(problems, Asked(), jobs=1, threads=1, folder=folder) == first
    with pytest.raises(OtherRunError):
        solve(problems, Asked(seconds=3), jobs=1, threads=1, folder=folder)


def test_a_process_that_dies_is_an_error_of_its_problem_alone(problems: list[Instance], tmp_path: Path) -> None:
    """Of too little memory a process is killed from outside, without a word."""
    net = write_net(tmp_path / "hard.onnx", inputs=10, hidden=150)
    hard = Instance(9, net, write_property(tmp_path / "hard.vnnlib", 40, inputs=10, reach=3), 60, "unsat")

    def kill() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not multiprocessing.active_children():
            time.sleep(0.1)
        time.sleep(1)
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = solve([hard, problems[1]], Asked(), jobs=1, threads=1)
    killer.join()
    assert [one.word for one in found] == ["error", "unsat"]
    assert "died" in found[0].told


def test_the_opposite_of_what_is_expected_is_wrong() -> None:
    names = (1, "net", "property")
    assert Solved(*names, "sat", "unsat", 1.0).is_wrong
    assert not any(Solved(*names, "sat", word, 1.0).is_wrong for word in ("sat", "unknown", "timeout", "error"))
    assert not Solved(*names, "unknown", "sat", 1.0).is_wrong
