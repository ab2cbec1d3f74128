"""Models as files for other tools: the same answers, layers and card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tests.networks import Small, seeded
from xai.api import explain, export, load
from xai.cli.main import run
from xai.errors import AnalysisError, NotApplicableError, UsageError
from xai.models import writing
from xai.models.model import Model


def small(**declared: object) -> Model:
    fields = {"mean": (0.4, 0.5, 0.6), "std": 0.25, "classes": tuple("abcd"), "name": "net"} | declared
    return load(seeded(Small), shape=(3, 16, 16), **fields)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_written_model_is_the_same_in_input_units(tmp_path: Path, suffix: str) -> None:
    model = small()
    assert export(model, tmp_path / f"net{suffix}") < 1e-5
    again = load(tmp_path / f"net{suffix}")
    assert again.classes == model.classes
    assert again.name == "net"
    assert (again.input.mean, again.input.std) == ((0.0,), (1.0,))
    x = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(again(x), model(x), atol=1e-5, rtol=1e-5)
    one, two = (explain(each, x[0], methods="gradcam", measures="none", target=1)["gradcam"] for each in (model, again))
    np.testing.assert_allclose(one.map, two.map, atol=1e-4)
    folded = {"stem"} if suffix == ".onnx" else set()  # the exporter puts it into the norm behind it
    assert {"stem", "again", "norm", "head"} - folded <= set(again.graph.layers)


def test_a_network_of_half_precision_is_compared_by_its_own_rounding(tmp_path: Path) -> None:
    network = seeded(Small).half()
    assert export(load(network, shape=(3, 16, 16)), tmp_path / "net.onnx") < 4e-3


def test_onnxruntime_alone_gives_the_same(tmp_path: Path) -> None:
    model = small()
    export(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 4):
        x = torch.rand(batch, 3, 16, 16)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(found, model(x).numpy(), atol=1e-5)


def test_channels_last_is_inside_the_file(tmp_path: Path) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = seeded(Small)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x.permute(0, 3, 1, 2))

    model = load(Last(), shape=(3, 16, 16), layout="channels last")
    export(model, tmp_path / "net.pt2")
    again = load(tmp_path / "net.pt2")
    assert again.input.layout == "channels first"
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(again(x), model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["net.h5", "net", "no/such/net.onnx"])
def test_where_nothing_can_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in|does not exist"):
        export(small(), tmp_path / name)


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export(small(), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_text() == "mine"
    (tmp_path / "other.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"other\.yaml exists and says something else"):
        export(small(), tmp_path / "other.onnx")
    export(small(), tmp_path / "net.onnx", overwrite=True)
    assert load(tmp_path / "net.onnx").classes == tuple("abcd")


def test_a_black_box_cannot_be_written(tmp_path: Path) -> None:
    model = load(lambda x: x.flatten(1)[:, :3], shape=(3, 8, 8))
    with pytest.raises(NotApplicableError, match="black box"):
        export(model, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(program: object, path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
        path.write_text("wrong")
        return lambda x: torch.zeros(len(x), 4) + 7

    monkeypatch.setitem(writing._WRITERS, ".onnx", wrong)
    with pytest.raises(AnalysisError, match="differs from the model by"):
        export(small(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


class Exponential(nn.Module):
    """Has an operator that ONNX has none for."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x.flatten(1))
        return torch.linalg.matrix_exp(x[:, :, None] * x[:, None, :])[:, :, 0]


def test_an_operator_that_onnx_has_none_for_is_named_in_one_plain_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    export(load(seeded(Exponential), shape=(3, 2, 2)), Path("net.pt2"))
    assert run(["export", "net.pt2", "-o", "again.onnx"]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert [line for line in told.err.splitlines() if not line.startswith("assumed: ")] == [
        "error: the model cannot be written as ONNX: torch's exporter cannot translate the operator "
        "aten.linalg_matrix_exp.default; write it as .pt2, which takes any operator"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pt2", "net.yaml"]


def test_whatever_else_the_exporter_says_is_one_plain_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("\x1b[96mThis is step 3/3\x1b[0m of\n\nexporting")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(AnalysisError) as caught:
        export(small(), tmp_path / "net.onnx")
    assert str(caught.value) == (
        "the model cannot be written as ONNX: torch's exporter failed (RuntimeError: This is step 3/3 of exporting); "
        "write it as .pt2, which takes any operator"
    )
    assert not list(tmp_path.iterdir())
