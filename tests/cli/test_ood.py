"""xai ood as its users use it, and misuse it."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai
from tests.cli.test_attack import told
from xai.cli.main import run
from xai.reports.folder import open_run

CARD = "classes: [ant, bee, cat]\ninput: {shape: [1, 4, 5], mean: [0.0], std: [1.0]}\nmeasured: {accuracy: 1.0}\n"
Captured = pytest.CaptureFixture[str]


class Net(nn.Module):
    """A convolution, a hidden layer, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.hidden, self.head = nn.Linear(80, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(self.conv(x).relu().flatten(1)).relu())


class Branching(nn.Module):
    """Cannot be followed as a graph."""

    def __init__(self, inner: Net) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return self.inner(x)
        return -self.inner(x)


def inputs(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images of three patterns with noise, and which pattern each is."""
    patterns = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (count,), generator=generator)
    x = (patterns[y] + 0.1 * torch.randn(count, 1, 4, 5, generator=generator)).clamp(0, 1)
    return x.numpy(), y.numpy()


@cache
def trained() -> Net:
    x, y = map(torch.from_numpy, inputs(200, 7))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = Net()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval()


def dead() -> Net:
    """Return a network whose features are the same for every image."""
    net = deepcopy(trained())
    net.hidden.bias.data.fill_(-1000.0)
    return net


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, images, and a detector that was fitted to them."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XAI_CACHE_DIR", "off")
        batch = torch.export.Dim("batch", min=1)
        for name, net in (("net", trained()), ("dead", dead())):
            program = torch.export.export(net, (torch.rand(2, 1, 4, 5),), dynamic_shapes=({0: batch},))
            torch.export.save(program, f"{name}.pt2")
        torch.jit.script(Branching(trained()).eval()).save("box.pt")
        for name in ("net", "box", "dead"):
            Path(f"{name}.yaml").write_text(CARD)
        x, y = inputs()
        np.savez("data.npz", x=x, y=y)
        np.savez("new.npz", x=inputs(40, 1)[0])
        np.savez("negative.npz", x=1 - inputs(40, 1)[0])
        assert run(["ood", "fit", "net.pt2", "data.npz", "-o", "detector", "--holdout", "0.4"]) == 0
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_what_is_fitted_is_a_run_that_scores_images(place: Path, capsys: Captured) -> None:
    assert run(["ood", "fit", "net.pt2", "data.npz", "--holdout", "0.4", "-o", "again"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "again/report.html\n"
    assert "accuracy: 100.00 % of 300" in captured.err
    one, two = (open_run(place / name) for name in ("detector", "again"))
    assert [f.timeless() for f in one.findings] == [f.timeless() for f in two.findings]
    assert sorted(path.name for path in (place / "again").iterdir()) == [
        "artefacts",
        "manifest.json",
        "record.json",
        "report.html",
    ]
    assert run(["ood", "score", "net.pt2", "again", "negative.npz", "-o", "scored", "--examples", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "scored/report.html\n"
    (whole, *others) = open_run(place / "scored").findings
    assert whole.values["out-of-distribution"].value > 0.9
    for finding in (one for one in others if one.family == "ood-verdict"):
        assert f"{finding.input}: {finding.values['said'].value}" in captured.err


def test_pictures_are_scored_one_by_one(place: Path, capsys: Captured) -> None:
    for number in range(2):
        np.save(f"{number}.npy", inputs(2, 5)[0][number])
    assert run(["ood", "score", "net.pt2", "detector", "0.npy", "1.npy", "-o", "out"]) == 0
    told_ = capsys.readouterr().err
    assert told_.count("the threshold") == 2
    assert run(["ood", "score", "net.pt2", "detector", "0.npy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verb"] == "ood score"


def test_the_recorded_commands_make_the_runs_again(place: Path) -> None:
    options = [
        "--methods",
        "msp,knn",
        "--set",
        "knn.k=3",
        "--ood",
        "a b=negative.npz",
        "--fpr",
        "0.1",
        "--gallery",
        "7",
    ]
    assert run(["ood", "fit", "net.pt2", "data.npz", *options, "--choose", "--seed", "2", "-o", "one"]) == 0
    first = open_run(place / "one")
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    second = open_run(place / "two")
    assert [f.timeless() for f in first.findings] == [f.timeless() for f in second.findings]
    assert second.record.command == first.record.command
    assert run(["ood", "score", "net.pt2", "one", "new.npz", "--limit", "9", "--examples", "1", "-o", "three"]) == 0
    third = open_run(place / "three")
    assert run([*shlex.split(third.record.command)[1:], "-o", "four"]) == 0
    assert [f.timeless() for f in open_run(place / "four").findings] == [f.timeless() for f in third.findings]


def test_the_api_gives_the_same_records(place: Path) -> None:
    model = xai.load("net.pt2")
    fitted = xai.ood.fit(model, "data.npz", holdout=0.4)
    assert [f.timeless() for f in fitted.findings] == [f.timeless() for f in open_run(place / "detector").findings]
    assert fitted.record.command == "xai.ood.fit(xai.load('net.pt2'), 'data.npz', holdout=0.4)"
    assert run(["ood", "score", "net.pt2", "detector", "new.npz", "--examples", "2", "-o", "out"]) == 0
    called = xai.ood.score(model, "detector", "new.npz", examples=2)
    assert [f.timeless() for f in called.findings] == [f.timeless() for f in open_run(place / "out").findings]


@pytest.mark.parametrize(("most", "code"), [("0.5", 1), ("1", 0)])
def test_more_foreign_images_than_were_allowed_is_exit_code_1(
    place: Path, capsys: Captured, most: str, code: int
) -> None:
    options = ["--fail-over", most, "--examples", "0", "-o", "out"]
    assert run(["ood", "score", "net.pt2", "detector", "negative.npz", *options]) == code
    assert any(line.startswith("violated:") for line in told(capsys)) == bool(code)


def test_a_killed_fit_is_gone_on_with(place: Path) -> None:
    x, y = inputs(6000)
    np.savez("large.npz", x=x, y=y)
    command = ["ood", "fit", "net.pt2", "large.npz", "--methods", "msp,mahalanobis", "--jobs", "1"]
    process = subprocess.Popen([sys.executable, "-m", "xai.cli", *command, "-o", "out"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (place / "out.partial" / "shards" / "learnt.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (place / "out").exists()
    assert run([*command, "-o", "out"]) == 2
    assert run([*command, "-o", "out", "--resume", "--holdout", "0.3"]) == 2
    assert run([*command, "-o", "out", "--resume"]) == 0
    assert run([*command, "-o", "whole"]) == 0
    one, two = (open_run(place / name).findings for name in ("out", "whole"))
    assert [f.timeless() for f in one] == [f.timeless() for f in two]


def test_an_evaluation_is_made_again_and_gates(place: Path, capsys: Captured) -> None:
    options = ["--ood", "negative=negative.npz", "--near", "the same=new.npz", "--probes", "noise", "--rounds", "20"]
    assert run(["ood", "evaluate", "net.pt2", "detector", "--id", "new.npz", *options, "-o", "one"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "one/report.html\n"
    first = open_run(place / "one")
    value = first.findings[0].values["AUROC, negative"]
    assert f"AUROC, negative: {100 * value.value:.2f} (" in captured.err
    assert run([*shlex.split(first.record.command)[1:], "-o", "two"]) == 0
    assert [f.timeless() for f in open_run(place / "two").findings] == [f.timeless() for f in first.findings]
    called = xai.ood.evaluate(
        xai.load("net.pt2"),
        "detector",
        "new.npz",
        {"negative": "negative.npz"},
        near={"the same": "new.npz"},
        probes="noise",
        rounds=20,
    )
    assert [f.timeless() for f in called.findings] == [f.timeless() for f in first.findings]
    capsys.readouterr()
    assert run([*shlex.split(first.record.command)[1:], "--fail-under", "0.9", "-o", "three"]) == 1
    assert "violated: on one set the combined AUROC is 0.5000" in capsys.readouterr().err


def test_explanations_have_the_verdict_beside_them(place: Path, capsys: Captured) -> None:
    np.save("one.npy", inputs(2, 5)[0][0])
    options = ["--methods", "occlusion", "--measures", "none", "--detector", "detector"]
    assert run(["explain", "net.pt2", "one.npy", *options, "-o", "out"]) == 0
    found = open_run(place / "out")
    assert [one.family for one in found.findings] == ["ood-verdict", "explanation"]
    assert f"one: {found.findings[0].values['said'].value}" in capsys.readouterr().err
    assert "--detector detector" in found.record.command
    assert run(["explain", "net.pt2", "one.npy", "--detector", "gone", "-o", "none"]) == 2
    assert run(["explain", "box.pt", "one.npy", "--detector", "detector", "-o", "none"]) == 4
    assert not (place / "none").exists()


def test_of_a_black_box_only_outputs_are_looked_at(place: Path, capsys: Captured) -> None:
    assert run(["ood", "fit", "box.pt", "data.npz", "-o", "out"]) == 0
    lines = told(capsys)
    assert any(line.startswith("skipped: Mahalanobis: the model is a black box") for line in lines)
    assert run(["ood", "score", "box.pt", "out", "negative.npz", "-o", "scored", "--examples", "1"]) == 0
    statuses = {one.id: one.status for one in open_run(place / "out").findings}
    assert statuses["msp"] == statuses["energy"] == "ok"
    assert statuses["knn"] == statuses["gram"] == "skipped"
    capsys.readouterr()
    assert run(["ood", "fit", "box.pt", "data.npz", "--methods", "knn,gram", "-o", "none"]) == 3
    assert "expected a detector that applies to this model" in told(capsys)[-1]
    assert not (place / "none").exists()


def test_methods_tell_of_the_detectors(capsys: Captured) -> None:
    assert run(["methods", "relative-mahalanobis"]) == 0
    captured = capsys.readouterr().out
    assert "Relative Mahalanobis" in captured
    assert "Needs: graph" in captured
    assert run(["methods"]) == 0
    assert "detector" in capsys.readouterr().out


DATA: dict[str, Any] = {
    "few.npz": lambda: {"x": inputs(9)[0], "y": inputs(9)[1]},
    "alone.npz": lambda: {"x": inputs(3)[0], "y": np.arange(3)},
    "same.npz": lambda: {"x": np.full((300, 1, 4, 5), 0.5, np.float32)},
    "nan.npz": lambda: {"x": np.full((300, 1, 4, 5), np.nan, np.float32)},
    "empty.npz": lambda: {"x": np.zeros((0, 1, 4, 5), np.float32)},
    "labels.npz": lambda: {"x": inputs(9)[0], "y": np.arange(9)},
    "narrow.npz": lambda: {"x": np.zeros((9, 1, 4, 4, 3), np.float32)},
}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit", "net.pt2", "gone.npz"], 2, "gone.npz do not exist"),
        (["fit", "gone.pt2", "data.npz"], 2, "model gone.pt2 does not exist"),
        (["fit", "net.pt2", "few.npz"], 2, "hold back more, or keep fewer"),
        (["fit", "net.pt2", "alone.npz", "--holdout", "0.01"], 2, "none of 3 images was held back"),
        (["fit", "net.pt2", "alone.npz", "--holdout", "0.999"], 2, "all 3 images were held back"),
        (["fit", "net.pt2", "same.npz"], 2, "images that hold the same are never parted"),
        (["fit", "net.pt2", "empty.npz"], 4, "expected inputs along the first dimension"),
        (["fit", "net.pt2", "nan.npz"], 4, "none of the 300 entries of nan.npz could be read"),
        (["fit", "net.pt2", "labels.npz"], 2, "there is no class"),
        (["fit", "net.pt2", "narrow.npz"], 4, "the model takes inputs of shape (1, 4, 5)"),
        (["fit", "net.pt2", "data.npz", "--methods", "mahalanobi"], 2, "did you mean 'mahalanobis'"),
        (["fit", "net.pt2", "data.npz", "--layers", "convv"], 2, "no layer 'convv'"),
        (["fit", "net.pt2", "data.npz", "--holdout", "0"], 2, "above 0 and below 1"),
        (["fit", "net.pt2", "data.npz", "--holdout", "2"], 2, "--holdout"),
        (["fit", "net.pt2", "data.npz", "--keep", "1"], 2, "above 0 and below 1"),
        (["fit", "net.pt2", "data.npz", "--keep", "0.9999"], 2, "held-back images to keep 0.9999"),
        (["fit", "net.pt2", "data.npz", "--ood", "negative.npz", "--fpr", "0.1"], 2, "expected NAME=DATA"),
        (["fit", "net.pt2", "data.npz", "--ood", "a=negative.npz"], 2, "nothing to do with them"),
        (["fit", "net.pt2", "data.npz", "--ood", "a=negative.npz", "--ood", "a=new.npz", "--choose"], 2, "given twice"),
        (["fit", "net.pt2", "data.npz", "--ood", "a=negative.npz", "--fpr", "0.001"], 2, "known outliers for a false-"),
        (["fit", "net.pt2", "data.npz", "--best-split"], 2, "--best-split needs known outliers"),
        (["fit", "net.pt2", "data.npz", "--set", "knn.k=0"], 2, "parameters of knn do not fit"),
        (["fit", "net.pt2", "data.npz", "--resume"], 2, "--resume was given without -o"),
        (["fit", "net.pt2", "data.npz", "-o", "detector"], 2, "not empty"),
        (["score", "net.pt2", "gone", "new.npz"], 2, "detector gone does not exist"),
        (["score", "net.pt2", "data.npz", "new.npz"], 2, "detector data.npz does not exist"),
        (["score", "net.pt2", ".", "new.npz"], 2, "there is no record.json in it"),
        (["score", "net.pt2", "detector", "gone.npz"], 2, "gone.npz do not exist"),
        (["score", "net.pt2", "detector", "empty.npz"], 4, "expected inputs along the first dimension"),
        (["score", "net.pt2", "detector", "nan.npz"], 4, "none of the 300 entries"),
        (["score", "box.pt", "detector", "new.npz"], 4, "fitted to another model"),
        (
            ["score", "sample:digits", "detector", "new.npz"],
            4,
            "prepared otherwise: shape [1, 4, 5], and now [1, 8, 8]",
        ),
        (["score", "net.pt2", "detector", "new.npz", "--fail-over", "2"], 2, "--fail-over"),
        (["evaluate", "net.pt2", "detector", "--id", "gone.npz"], 2, "gone.npz do not exist"),
        (["evaluate", "net.pt2", "detector"], 2, "--id"),
        (["evaluate", "net.pt2", "gone", "--id", "new.npz"], 2, "detector gone does not exist"),
        (["evaluate", "net.pt2", "detector", "--id", "new.npz", "--probes", "none"], 2, "there are no outliers to try"),
        (["evaluate", "net.pt2", "detector", "--id", "new.npz", "--probes", "nois"], 2, "did you mean 'noise'"),
        (["evaluate", "net.pt2", "detector", "--id", "new.npz", "--ood", "a=gone"], 2, "gone do not exist"),
        (["evaluate", "net.pt2", "detector", "--id", "new.npz", "--ood", "blur=new.npz"], 2, "as a probe is"),
        (
            ["evaluate", "net.pt2", "detector", "--id", "new.npz", "--ood", "a=new.npz", "--near", "a=new.npz"],
            2,
            "as another set is",
        ),
        (
            ["evaluate", "net.pt2", "detector", "--id", "new.npz", "--ood", "a=empty.npz"],
            4,
            "along the first dimension",
        ),
        (["evaluate", "box.pt", "detector", "--id", "new.npz"], 4, "fitted to another model"),
    ],
)
def test_wrong_requests(place: Path, capsys: Captured, arguments: list[str], code: int, message: str) -> None:
    for name, make in DATA.items():
        if any(one.endswith(name) for one in arguments):
            np.savez(name, **make())
    before = sorted(place.rglob("*"))
    assert run(["ood", *arguments, *([] if "-o" in arguments or "--resume" in arguments else ["-o", "out"])]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert sorted(place.rglob("*")) == before, "something was left behind"


def test_features_that_are_constant_are_told(place: Path, capsys: Captured) -> None:
    assert run(["ood", "fit", "dead.pt2", "data.npz", "-o", "out"]) == 0
    lines = told(capsys)
    reasons = {one.id: one.reason for one in open_run(place / "out").findings if one.status == "skipped"}
    assert "received the same for all: nothing can be learnt of them" in reasons["mahalanobis"]
    assert any(line.startswith("skipped: Mahalanobis: expected features that differ") for line in lines)
    assert run(["ood", "fit", "dead.pt2", "data.npz", "--methods", "mahalanobis", "-o", "none"]) == 3
    assert "received the same for all" in told(capsys)[-1]
    assert not (place / "none").exists()


def test_a_class_with_one_image_is_told(place: Path, capsys: Captured) -> None:
    x, _ = inputs()
    np.savez("rare.npz", x=x, y=np.array([2] * 2 + [0] * 149 + [1] * 149))
    assert run(["ood", "fit", "net.pt2", "rare.npz", "--methods", "mahalanobis", "-o", "rare", "--keep", "0.8"]) == 0
    assert "have one image" in capsys.readouterr().err


def test_fewer_images_than_dimensions_are_told(place: Path, capsys: Captured) -> None:
    x, y = inputs(60)
    np.savez("small.npz", x=x, y=y)
    options = ["--methods", "mahalanobis", "--keep", "0.6", "--holdout", "0.85"]
    assert run(["ood", "fit", "net.pt2", "small.npz", *options, "-o", "out"]) == 0
    assert "images for 12 features: covariances are mostly the prior's" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["record.json", "manifest.json", "detectors", "detectors' tensors", "gallery"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_detector_that_is_not_as_it_was_written_is_refused(
    place: Path, capsys: Captured, name: str, damage: str
) -> None:
    held = open_run(place / "detector").findings[0].artefacts
    file = place / "detector" / (held[name].path if name in held else name)
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-20] if damage == "cut" else content.replace(b"record.json", b"other.json") + b" ")
    assert run(["ood", "score", "net.pt2", "detector", "new.npz", "-o", "out"]) in (1, 2, 4)
    lines = told(capsys)
    assert len(lines) == 1
    assert "detector" in lines[0]
    assert "fault of the program" not in lines[0]
    assert not (place / "out").exists()
