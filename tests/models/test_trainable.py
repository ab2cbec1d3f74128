"""Networks in training: a copy that learns, of whatever a model was opened from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.networks import Small, seeded
from xai.api import export, load
from xai.errors import NotApplicableError
from xai.models.model import Model
from xai.models.trainable import trainable


def step(found: torch.Tensor, weights: list[nn.Parameter]) -> None:
    """Take one gradient step."""
    for weight, gradient in zip(weights, torch.autograd.grad(found.square().sum(), weights), strict=True):
        with torch.no_grad():
            weight.sub_(0.05 * gradient)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("files")
    model = load(seeded(Small), shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    for name in ("net.onnx", "net.pt2"):
        export(model, folder / name)
    script = torch.jit.trace(seeded(Small).eval(), torch.rand(2, 3, 16, 16))
    torch.jit.save(script, folder / "net.pt")
    return {
        "live": model,
        "onnx": load(folder / "net.onnx"),
        "pt2": load(folder / "net.pt2"),
        "script": load(folder / "net.pt", shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25),
    }


@pytest.mark.parametrize("name", ["live", "onnx", "pt2", "script"])
def test_every_format_learns_and_the_model_stays(files: dict[str, Model], name: str) -> None:
    model = files[name]
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = model(x).clone()
    found = trainable(model)
    with found.evaluation():
        torch.testing.assert_close(found.scores(x), before, rtol=1e-4, atol=1e-5)
        step(found.scores(x), list(found.learnt.values()))
        after = found.scores(x).detach()
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(found.evaluated(x), after, rtol=1e-4, atol=1e-5)
    assert found.evaluated.graph is not None
    torch.testing.assert_close(found.evaluated.graph(x), after, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(x), before)


def test_a_program_says_what_is_not_trained(files: dict[str, Model]) -> None:
    assert "batch normalisation" in trainable(files["onnx"]).notes[0]
    assert trainable(files["live"]).notes == ()


def test_the_user_s_module_is_neither_changed_nor_left_in_another_mode() -> None:
    network = seeded(Small).train()
    model = load(network, shape=(3, 16, 16))
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = trainable(model)
    found.network.train()
    found.scores(torch.rand(4, 3, 16, 16))  # figures of batch normalisation move
    step(found.scores(torch.rand(4, 3, 16, 16)), list(found.learnt.values()))
    assert network.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.two = nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x).relu())

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load(Tied(), shape=(4,))
    found = trainable(model)
    x = torch.rand(3, 4)
    step(found.scores(x), list(found.learnt.values()))
    assert found.own.get_submodule("one").weight is found.own.get_submodule("two").weight
    torch.testing.assert_close(found.evaluated.graph(x), found.scores(x))


def test_black_boxes_cannot_be_trained() -> None:
    model = load(lambda x: np.zeros((len(x), 2), dtype=np.float32), shape=(4,))
    with pytest.raises(NotApplicableError, match="only weights can be trained"):
        trainable(model)


def test_a_network_without_weights_is_refused() -> None:
    model = load(nn.Flatten(), shape=(4,))
    with pytest.raises(NotApplicableError, match="no weights"):
        trainable(model)


def test_a_network_that_has_learnt_nothing_is_opened_by_its_function(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(n=3): return nn.Sequential(nn.Linear(4, n))\n")
    model = load(f"{tmp_path}/net.py:make(5)", shape=(4,))
    assert len(model.classes) == 5
    assert any("learnt nothing" in line for line in model.assumed)
    again = load(f"{tmp_path}/net.py:make(5)", shape=(4,))
    assert again.fingerprint == model.fingerprint
    assert load(f"{tmp_path}/net.py:make(5)", shape=(4,), seed=1).fingerprint != model.fingerprint
