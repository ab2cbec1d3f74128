"""xai audit as its users use it, misuse it, and kill it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonschema import Draft202012Validator

import xai
from tests.cli import test_attack
from tests.cli.test_attack import inputs, told
from xai.api import audit
from xai.cli.main import run
from xai.errors import RefusedFileError, UsageError
from xai.reports.audit import reevaluate
from xai.reports.check import check
from xai.reports.folder import open_run
from xai.reports.policy.reading import schema_text
from xai.reports.renderings import RENDERINGS
from xai.reports.run import Run

Captured = pytest.CaptureFixture[str]
place = test_attack.place  # its network and data
HOLDS = ["accuracy >= 50 %", "robust_accuracy(pgd, 0.02) >= 20 %", "certified_accuracy(0.02) >= 20 %", "ece <= 0.9"]


def policy(name: str = "audit.yaml", data: Any = "data.npz", requirements: Any = tuple(HOLDS), **parts: Any) -> str:
    fields = {
        "model": {"source": "net.pt2", "intended_use": "a test"},
        "data": data if isinstance(data, dict) else {"test": data},
        "requirements": list(requirements),
        **parts,
    }
    Path(name).write_text(yaml.safe_dump(fields, sort_keys=False))
    return name


def opened(folder: Path) -> Run:
    kept = open_run(folder)
    return Run(kept.record, kept.store)


def same(one: Run, other: Run) -> None:
    """Compare records, times and the words that made them aside."""
    assert [found.timeless() for found in one.findings] == [found.timeless() for found in other.findings]
    alone = {"created": "", "seconds": 0.0, "command": "", "findings": (), "audit": None}
    assert one.record.model_copy(update=alone) == other.record.model_copy(update=alone)
    assert one.requirements == other.requirements
    assert one.record.audit is not None
    assert other.record.audit is not None
    assert one.record.audit.policy.digest == other.record.audit.policy.digest


def test_a_policy_becomes_a_run_with_all_renderings(place: Path, capsys: Captured) -> None:
    explained = {"right": 1, "wrong": 1, "least_sure": 1, "most_attacked": 1}
    parts = {"explanations": explained, "threat": {"epsilons": ["0.01"], "plan": "pgd"}, "profiles": ["eu-ai-act"]}
    assert run(["audit", policy(**parts), "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out/report.html\n"
    assert "holds: R1 (must): accuracy >= 50 %" in captured.err
    for name in ("report.html", "record.json", "manifest.json", *RENDERINGS):
        assert (place / "out" / name).is_file(), name
    found = opened(place / "out")
    assert found.passed
    assert {"performance", "calibration", "repetition", "cost", "robustness", "bounds", "explanation"} <= {
        finding.family for finding in found.findings
    }
    assert reevaluate(found.record) == []
    assert not list(place.glob("out.partial"))
    assert not (place / "out" / "audit").exists()
    checked = check(place / "out")
    assert checked.complaints == ()
    assert found.record.audit is not None
    assert datetime.fromisoformat(found.record.audit.policy.read) <= datetime.fromisoformat(found.record.created)


def test_a_policy_names_no_code_and_its_user_may(place: Path, capsys: Captured) -> None:
    code = "import torch\nfrom pathlib import Path\nPath('ran').touch()\n"
    Path("net.py").write_text(
        f"{code}class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.zeros(20, 4))\n"
        "    def forward(self, x):\n        return x.flatten(1) @ self.weight\n"
    )
    torch.save(test_attack.Net().state_dict(), "weights.pt")
    Path("weights.yaml").write_text(test_attack.CARD)
    named = {"source": "weights.pt", "intended_use": "a test"}
    assert run(["audit", policy("code.yaml", model={**named, "arch": "net.py:Net"})]) == 4
    refused = capsys.readouterr().err
    assert "line 4, column 3: model.arch" in refused
    assert "name it yourself with --arch" in refused
    assert not Path("ran").exists()
    own = policy("own.yaml", model=named, requirements=["accuracy >= 50 %"])
    assert run(["audit", own, "--arch", "net.py:Net", "-o", "out"]) == 0
    assert "--arch net.py:Net" in opened(place / "out").record.command
    same(opened(place / "out"), audit("own.yaml", arch="net.py:Net"))


@pytest.mark.parametrize(
    ("demands", "codes"),
    [
        ({"must": "accuracy >= 50 %"}, (0, 0, 0)),
        ({"must": "accuracy <= 50 %"}, (1, 1, 1)),
        ({"must": "accuracy >= 95 %"}, (5, 5, 1)),
        ({"must": "accuracy >= 50 %", "should": "accuracy <= 50 %"}, (0, 1, 1)),
        ({"must": "accuracy >= 50 %", "should": "accuracy >= 95 %"}, (0, 5, 1)),
        ({"must": "ood.auroc(noise) >= 50 %"}, (5, 5, 1)),
        ({"must": "accuracy >= 50 %", "may": "accuracy <= 50 %"}, (0, 0, 0)),
    ],
)
def test_the_gate_gives_the_exit_code(place: Path, demands: dict[str, str], codes: tuple[int, ...]) -> None:
    asked = [{"require": text, "severity": severity} for severity, text in demands.items()]
    name = policy(requirements=asked)
    for gate, code in zip(("must", "should", "undecided"), codes, strict=True):
        assert run(["audit", name, "--fail-on", gate, "-o", gate]) == code, gate


def test_the_recorded_command_makes_the_run_again(place: Path) -> None:
    assert run(["audit", policy(), "--seed", "4", "--jobs", "2", "-o", "one"]) == 0
    first = opened(place / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    same(first, opened(place / "two"))
    assert opened(place / "two").record.command == first.record.command


def test_the_record_does_not_depend_on_the_number_of_jobs(place: Path) -> None:
    x, y = inputs(300)
    np.savez("more.npz", x=x, y=y)
    name = policy(data={"test": "more.npz"}, requirements=HOLDS[:2])
    for jobs in ("1", "2"):
        assert run(["audit", name, "--jobs", jobs, "-o", jobs]) == 0
    same(opened(place / "1"), opened(place / "2"))


def test_the_api_gives_the_same_record_from_a_path_and_from_a_dict(place: Path) -> None:
    name = policy(explanations={"right": 1})
    assert run(["audit", name, "-o", "out"]) == 0
    kept = opened(place / "out")
    called = audit(name)
    same(kept, called)
    assert called.passed
    assert called.record.command == "xai.audit('audit.yaml')"
    fields = yaml.safe_load(Path(name).read_text())
    live = audit(fields, jobs=1)
    assert [one.timeless() for one in live.findings] == [one.timeless() for one in kept.findings]
    assert live.requirements == kept.requirements
    assert eval(live.record.command, {"xai": xai}).requirements == kept.requirements
    called.save("saved")
    assert check(place / "saved").complaints == ()
    assert (place / "saved" / "junit.xml").is_file()
    assert "<" in called._repr_html_()


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"requirements": []}, RefusedFileError, "the policy has"),
        ({"model": object()}, UsageError, "received a object"),
        ({"requirements": [float("nan")]}, UsageError, "texts, numbers, lists and mappings"),
        ("nowhere.yaml", UsageError, "does not exist"),
    ],
)
def test_a_wrong_policy_in_python_is_told_in_one_line(config: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as told_:
        audit(config)
    assert "\n" not in str(told_.value)


def test_init_writes_a_policy_that_fits_its_schema_and_runs(place: Path, capsys: Captured) -> None:
    assert run(["audit", "--init", "net.pt2", "data.npz", "-o", "first.yaml"]) == 0
    assert capsys.readouterr().out == "first.yaml\n"
    text = Path("first.yaml").read_text()
    Draft202012Validator(json.loads(schema_text())).validate(yaml.safe_load(text))
    assert text.count("#") > 5
    assert run(["audit", "--init", "net.pt2", "data.npz", "-o", "first.yaml"]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run(["audit", "--init", "net.pt2"]) == 2
    Path("first.yaml").write_text(text.replace("plan: standard", "plan: pgd").replace("(standard, ", "(pgd, "))
    assert run(["audit", "first.yaml", "-o", "out"]) in (0, 1, 5)
    assert [one.id for one in opened(place / "out").requirements] == ["ACC", "ROB", "R3"]
    assert opened(place / "out").requirements[0].verdict == "holds"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"requirements": ["acuracy >= 50 %"]}, 4, "did you mean 'accuracy'"),
        ({"requirements": ["accuracy >= 95"]}, 4, "did you mean 95 %"),
        ({"requirement": ["accuracy >= 50 %"]}, 4, "requirement"),
        ({"data": "nowhere.npz"}, 2, "nowhere.npz"),
        ({"model": {"source": "none.pt2", "intended_use": "a test"}}, 2, "none.pt2"),
        ({"model": {"source": "data.npz", "intended_use": "a test"}}, 4, "data.npz"),
        ({"profiles": ["eu-ai-akt"]}, 4, "eu-ai-act"),
        ({"requirements": ["robust_accuracy(standart, 0.1) >= 50 %"]}, 2, "standart"),
        ({"requirements": ["corruption(jpg, 3) >= 50 %"]}, 2, "'jpg'"),
        ({"threat": {"epsilons": ["8"]}}, 2, "8/255 was meant"),
        ({"explanations": {"methods": ["gradcamm"]}}, 2, "gradcamm"),
    ],
)
def test_a_policy_that_is_wrong_is_told_in_one_line(
    place: Path,
    capsys: Captured,
    changes: dict[str, Any],
    code: int,
    message: str,
) -> None:
    assert run(["audit", policy(**changes)]) == code
    lines = told(capsys)
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(place.glob("xai-runs/*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["audit.yaml", "other.yaml"], "expected one policy"),
        (["audit.yaml", "--fail-on", "most"], "did you mean 'must'"),
        (["audit.yaml", "--resume"], "--resume was given without -o"),
        (["audit.yaml", "--jobs", "0"], "--jobs"),
    ],
)
def test_arguments_that_are_wrong_are_told_in_one_line(
    place: Path,
    capsys: Captured,
    arguments: list[str],
    message: str,
) -> None:
    policy()
    assert run(["audit", *arguments]) == 2
    lines = told(capsys)
    assert len(lines) == 1
    assert message in lines[0]


def test_a_fault_of_the_policy_is_told_before_torch_is_imported(place: Path) -> None:
    code = "import sys; from xai.cli.main import run; run(['audit', 'audit.yaml']); sys.exit('torch' in sys.modules)"
    policy(requirements=["acuracy >= 50 %"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "did you mean 'accuracy'" in done.stderr


def test_a_killed_run_is_gone_on_with_by_the_same_policy_alone(place: Path, capsys: Captured) -> None:
    x, y = inputs(400)
    np.savez("large.npz", x=x, y=y)
    begin = ["audit", policy(data="large.npz"), "--jobs", "1", "-o"]
    process = subprocess.Popen([sys.executable, "-m", "xai.cli", *begin, "out"], stderr=-1, stdout=-1)
    deadline = time.monotonic() + 120
    while not list(place.glob("out.partial/audit/bounds-linf/0*.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (place / "out").exists()
    read = json.loads((place / "out.partial/audit/audit.json").read_text())["policy"]["read"]
    assert run([*begin, "out"]) == 2
    other = policy("other.yaml", data="large.npz", requirements=HOLDS[:1])
    capsys.readouterr()
    assert run(["audit", other, "-o", "out", "--resume"]) == 2
    assert "the policies differ" in capsys.readouterr().err
    assert run([*begin, "out", "--resume", "--seed", "1"]) == 2
    assert run([*begin, "out", "--resume"]) == 0
    assert run([*begin, "whole"]) == 0
    found = opened(place / "out")
    same(opened(place / "whole"), found)
    assert found.record.audit is not None
    assert found.record.audit.policy.read == read
    assert check(place / "out").complaints == ()


def test_json_prints_the_record_and_the_words_name_what_failed_first(place: Path, capsys: Captured) -> None:
    name = policy(requirements=["accuracy >= 50 %", "accuracy <= 10 %", "accuracy >= 95 %"])
    assert run(["audit", name, "--json", "-o", "out"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verb"] == "audit"
    signs = re.findall(r"^(holds|VIOLATED|not decided): R\d", captured.err, re.MULTILINE)
    assert signs[0] == "VIOLATED"
    assert sorted(signs) == ["VIOLATED", "holds", "not decided"]


def test_relative_paths_are_taken_from_where_the_policy_lies(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy()
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert run(["audit", "../audit.yaml", "-o", "out"]) == 0
