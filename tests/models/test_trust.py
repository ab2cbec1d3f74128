"""Whole pickles, opened by whoever trusts them: their classes are the user's, and the record says what was allowed."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn

from tests.hostile.base import Evil
from tests.networks import Small, seeded
from xai.api import load
from xai.cli.main import run
from xai.errors import RefusedFileError
from xai.models.architectures import build

ALLOWED = "code in the file was allowed to run (--trust-model)"
MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(x.mean((2, 3))) * {factor}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save("image.png")
    return tmp_path


def user(folder: Path, factor: int = 1, *, package: bool = False) -> Callable[[], nn.Module]:
    """Write a user's own models.py, or package models/, and return their class of networks."""
    folder.mkdir(exist_ok=True)
    source = folder / "models" / "__init__.py" if package else folder / "models.py"
    source.parent.mkdir(exist_ok=True)
    source.write_text(MODELS.format(factor=factor))
    sys.path.insert(0, str(folder))
    try:
        made: Any = __import__("models")
    finally:
        sys.path.remove(str(folder))
    return made.Net  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the user's modules, and what another test took for them: the command is run in a process of its own."""
    for after in (False, True):
        for name in [name for name in sys.modules if name.partition(".")[0] == "models"]:
            del sys.modules[name]
        if not after:
            yield


def forget() -> None:
    del sys.modules["models"]


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_users_own_models_is_theirs(place: Path, package: bool, legacy: bool) -> None:
    for factor, folder in ((1, "one"), (3, "two")):
        network = user(place / folder, factor, package=package)()
        torch.save(network, place / folder / "net.pt", _use_new_zipfile_serialization=not legacy)
        forget()
        model = load(place / folder / "net.pt", trust_model=True, shape=(3, 16, 16))
        x = torch.rand(2, 3, 16, 16)
        torch.testing.assert_close(model(x), network(x))
        assert model.graph is not None
        assert "head" in model.graph.layers
        assert ALLOWED in model.assumed
        assert "trust_model=True" in model.call
        assert "models" not in sys.modules, "another file's models may follow"
        shutil.rmtree(place / folder)


def test_the_working_folder_may_be_imported_from(place: Path) -> None:
    network = user(place)()
    (place / "elsewhere").mkdir()
    torch.save(network, "elsewhere/net.pt")
    forget()
    assert load("elsewhere/net.pt", trust_model=True, shape=(3, 16, 16)).format == "state dict"


def test_the_record_says_that_code_was_allowed_to_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(user(place)(), "net.pt")
    forget()
    (place / "net.yaml").write_text("input: {shape: [3, 16, 16]}")
    arguments = ["explain", "net.pt", "image.png", "-o", "out", "--measures", "none"]
    assert run(arguments) == 4
    line = capsys.readouterr().err
    assert "(models.Net), and opening them could run code; save net.state_dict() instead and give --arch" in line
    assert "or open it with --trust-model if you trust whoever made the file" in line
    assert run([*arguments, "--trust-model"]) == 0
    assert f"assumed: {ALLOWED}" in capsys.readouterr().err
    record = json.loads(Path("out/record.json").read_text())
    assert ALLOWED in record["model"]["assumed"]
    assert "--trust-model" in record["command"].split()


def test_a_trusted_pickle_can_be_inspected(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(user(place)(), "net.pt")
    forget()
    (place / "net.yaml").write_text("input: {shape: [3, 16, 16]}")
    assert run(["inspect", "net.pt"]) == 4
    assert "or open it with --trust-model" in capsys.readouterr().err
    assert run(["inspect", "net.pt", "image.png", "--trust-model", "-o", "out"]) == 0
    record = json.loads(Path("out/record.json").read_text())
    assert ALLOWED in record["model"]["assumed"]
    assert "--trust-model" in record["command"].split()


def test_trust_that_was_not_needed_is_not_noted(place: Path) -> None:
    network = seeded(Small)
    torch.save(network.state_dict(), "net.pt")
    Path("net.py").write_text("from tests.networks import Small as make\n")
    assert ALLOWED not in load("net.pt", arch="net.py:make", trust_model=True, shape=(3, 16, 16)).assumed


def test_trusted_pickles_of_every_kind(place: Path) -> None:
    network = seeded(Small)
    x = torch.rand(2, 3, 16, 16)
    for content in (
        network,
        nn.DataParallel(network),
        {"epoch": 3, "model": network, "optimizer": torch.optim.SGD(network.parameters())},
        {"net": nn.DataParallel(network)},
    ):
        torch.save(content, "net.pt")
        with pytest.raises(RefusedFileError, match="--trust-model"):
            load("net.pt", shape=(3, 16, 16))
        model = load("net.pt", trust_model=True, shape=(3, 16, 16))
        torch.testing.assert_close(model(x), network(x))
        assert model.graph is not None
        assert ALLOWED in model.assumed


def test_a_trusted_graph_module_or_script(place: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = torch.rand(2, 3, 16, 16)
    torch.save(torch.fx.symbolic_trace(network), "net.pt")
    torch.testing.assert_close(load("net.pt", trust_model=True, shape=(3, 16, 16))(x), network(x))
    torch.jit.save(torch.jit.script(network), "net.pt")
    torch.testing.assert_close(load("net.pt", trust_model=True, shape=(3, 16, 16))(x), network(x))


def test_a_trusted_checkpoint_of_weights_with_objects_beside_them(place: Path) -> None:
    network = seeded(Small)
    torch.save({"state_dict": network.state_dict(), "config": Namespace(width=3)}, "net.pt")
    Path("net.py").write_text("from tests.networks import Small as make\n")
    model = load("net.pt", arch="net.py:make", trust_model=True, shape=(3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model(x), network(x))
    assert ALLOWED in model.assumed


class Namespace:
    """Settings as a checkpoint keeps them."""

    def __init__(self, **values: object) -> None:
        self.values = values


def test_a_plain_pickle_of_a_network_or_a_classifier(place: Path) -> None:
    network = seeded(Small)
    Path("net.pkl").write_bytes(pickle.dumps(network))
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(load("net.pkl", trust_model=True, shape=(3, 16, 16))(x), network(x))
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    classifier = LogisticRegression().fit(rows, rows[:, 0] > 0)
    Path("rows.pkl").write_bytes(pickle.dumps(classifier))
    model = load("rows.pkl", trust_model=True, shape=(5,))
    np.testing.assert_allclose(model(torch.from_numpy(rows)), classifier.predict_proba(rows), atol=1e-6)
    assert ALLOWED in model.assumed


def test_a_trusted_network_of_a_library(place: Path) -> None:
    network = build("torchvision:resnet18(weights=None)").network.eval()
    torch.save(network, "net.pt")
    assert load("net.pt", trust_model=True, shape=(3, 64, 64)).graph is not None


class Script(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + 0 * torch.from_file("weights.bin", False, 3)


def test_a_trusted_script_may_read_files(place: Path) -> None:
    np.zeros(3, np.float32).tofile("weights.bin")
    torch.jit.save(torch.jit.script(Script()), "net.pt")
    with pytest.raises(RefusedFileError, match=r"reaches beyond itself .*--trust-model"):
        load("net.pt", shape=(3, 16, 16))
    assert ALLOWED in load("net.pt", trust_model=True, shape=(3, 16, 16)).assumed


def gone(place: Path) -> None:
    network = user(place)()
    type(network).__module__ = "lonely"
    sys.modules["lonely"] = sys.modules["models"]
    torch.save(network, "net.pt")
    del sys.modules["lonely"]


def from_a_notebook(place: Path) -> None:
    network = user(place)()
    type(network).__module__ = "__main__"
    sys.modules["__main__"].Net = type(network)  # type: ignore[attr-defined]
    torch.save(network, "net.pt")
    del sys.modules["__main__"].Net  # type: ignore[attr-defined]
    forget()


def failing(place: Path) -> None:
    torch.save(user(place)(), "net.pt")
    forget()
    (place / "models.py").write_text("print('hello')\nraise SystemExit('no licence')\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (gone, "needs the module 'lonely': run where it can be imported, or put it beside the file"),
        (from_a_notebook, "is of a class that a script or notebook defined"),
        (failing, "failed: SystemExit: no licence"),
        (lambda _: torch.save([Evil(), 1], "net.pt"), "expected tensors by name, or a checkpoint"),
        (
            lambda _: torch.save(Evil(), "net.pt"),
            "expected tensors by name, or a checkpoint with 'state_dict'; received int",
        ),
    ],
)
def test_whatever_a_trusted_file_raises_is_one_line(
    place: Path, make: Callable[[Path], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(place)
    assert run(["explain", "net.pt", "image.png", "--trust-model", "-o", "out"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
