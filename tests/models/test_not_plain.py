"""Weights that are no plain numbers: refused, with what to do, rather than filled in as something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from onnx import helper
from torch import nn

from tests.models.onnx.test_networks import saved
from xai.api import load
from xai.errors import RefusedFileError

KINDS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "meta": (lambda x: x.to("meta"), "'weight' is on the meta device"),
    "sparse": (lambda x: x.to_sparse(), "'weight' is sparse: save it dense"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "'weight' is a quantised or wrapped tensor .*: open the quantised network live",
    ),
    "complex": (lambda x: x.to(torch.complex64), "'weight' is complex"),
}


@pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor", "ignore:TypedStorage"
)  # deprecated; such files are about
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_no_plain_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    make, words = KINDS[kind]
    (tmp_path / "net.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Linear(4, 2)\n")
    state = {name: make(value) if name == "weight" else value for name, value in nn.Linear(4, 2).state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(RefusedFileError, match=words):
        load(tmp_path / "net.pt", arch=f"{tmp_path / 'net.py'}:make", shape=(4,))


def test_weights_that_torchao_quantised_are_told_what_to_do(tmp_path: Path) -> None:
    from torchao import quantization

    network = nn.Sequential(nn.Linear(32, 32)).eval()
    quantization.quantize_(network, quantization.Int8WeightOnlyConfig())
    torch.save(network.state_dict(), tmp_path / "net.pt")
    with pytest.raises(RefusedFileError, match="open the quantised network live"):
        load(tmp_path / "net.pt", arch="torchvision:resnet18", shape=(32,))


def test_an_operator_set_from_the_future_is_refused(tmp_path: Path) -> None:
    path = saved([helper.make_node("Relu", ["x"], ["y"])], tmp_path / "net.onnx", ["b", 4], opset=27)
    with pytest.raises(RefusedFileError, match=r"operator set 27, newer than 26.*opset_version=20"):
        load(path)
