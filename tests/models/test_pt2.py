"""torch.export archives: the same network as the live one, whatever batch it was exported with."""

from __future__ import annotations

import importlib
import io
import json
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.test_loading import Shared, Tokens
from tests.networks import Small, Tuple, seeded
from xai.api import explain, load
from xai.errors import RefusedFileError
from xai.models.architectures import build
from xai.models.exported import _fields
from xai.models.model import Model
from xai.models.torchvision_import import torchvision_models

DIM = torch.export.Dim("batch")


def export(network: nn.Module, path: Path, batch: int | None = None, shape: tuple[int, ...] = (3, 16, 16)) -> Path:
    """Save a network with a free batch, or one that is fixed at the example's."""
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    example = torch.rand(batch or 2, *shape).to(dtype)
    program = torch.export.export(network, (example,), dynamic_shapes=None if batch else ({0: DIM},))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # of a buffer that is a part of another
        torch.export.save(program, path)
    return path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Change the entries of an archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path


def edited(path: Path, entry: str, change: Callable[[Any], None]) -> Path:
    """Change one JSON entry of an archive."""

    def edit(entries: dict[str, bytes]) -> None:
        data = json.loads(entries[entry])
        change(data)
        entries[entry] = json.dumps(data).encode()

    return rewritten(path, edit)


def assert_same(one: Model, two: Model, shape: tuple[int, ...] = (3, 16, 16)) -> None:
    """Two models give the same answers and maps, and name their layers alike."""
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 2, 5):
        x = torch.rand((batch, *shape), generator=generator)
        torch.testing.assert_close(two(x), one(x), atol=1e-5, rtol=0)
    assert one.graph is not None
    assert two.graph is not None
    assert list(two.graph.layers) == list(one.graph.layers)
    assert two.graph.parameters == one.graph.parameters
    kinds = [{name: layer.kind for name, layer in model.graph.layers.items()} for model in (one, two) if model.graph]
    assert kinds[0] == kinds[1]
    maps = [explain(model, x[0], methods=["gradcam"], measures="none", target=1)["gradcam"] for model in (one, two)]
    np.testing.assert_allclose(maps[1].map, maps[0].map, atol=1e-4)
    assert maps[0].record.parameters == maps[1].record.parameters


@pytest.mark.parametrize("batch", [None, 1, 2])
@pytest.mark.parametrize("make", [Small, Tokens])
def test_an_export_is_the_live_network(tmp_path: Path, make: type[nn.Module], batch: int | None) -> None:
    network = seeded(make)
    model = load(export(network, tmp_path / "net.pt2", batch))
    assert model.format == "torch.export"
    assert model.input.shape == (3, 16, 16)
    assert_same(load(network, shape=(3, 16, 16)), model)
    said = [line for line in model.assumed if f"batch was fixed at {batch}" in line]
    assert bool(said) == (batch is not None)


def vision() -> nn.Module:
    """Attention over (tokens, batch) and a class token that is expanded to the batch."""
    size = {"image_size": 16, "patch_size": 4, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    network = torchvision_models().VisionTransformer(**size, num_classes=3).eval()
    nn.init.normal_(network.heads.head.weight, generator=torch.Generator().manual_seed(0))
    return network


def windows() -> nn.Module:
    """Attention within windows, which are folded into the batch."""
    size = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": [4, 4]}
    return torchvision_models().SwinTransformer(**size, num_classes=3).eval()


def residual() -> nn.Module:
    return build("torchvision:resnet18(weights=None, num_classes=5)", seed=0).network.eval()


@pytest.mark.parametrize(
    ("make", "size", "batch"),
    [(vision, 16, None), (vision, 16, 1), (windows, 16, 1), (windows, 16, 2), (residual, 64, None), (residual, 64, 1)],
)
def test_a_real_network(tmp_path: Path, make: Callable[[], nn.Module], size: int, batch: int | None) -> None:
    network, shape = make(), (3, size, size)
    assert_same(load(network, shape=shape), load(export(network, tmp_path / "net.pt2", batch, shape)), shape)


def test_a_core_aten_export_runs(tmp_path: Path) -> None:
    network = seeded(Tokens)
    program = torch.export.export(network, (torch.rand(2, 3, 16, 16),), dynamic_shapes=({0: DIM},))
    torch.export.save(program.run_decompositions(), tmp_path / "core.pt2")
    x = torch.rand(3, 3, 16, 16)
    model = load(tmp_path / "core.pt2")
    torch.testing.assert_close(model(x), network(x), atol=1e-5, rtol=0)
    assert {"patch", "norm", "query", "head"} <= set(model.graph.layers)


class Oddities(nn.Module):
    """Tensors of every kind: tied, empty, of whole numbers and truth values, constants, kept out of the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"conv-1": nn.Conv2d(3, 3, 3, padding=1), "conv 2": nn.Conv2d(3, 3, 3, padding=1)})
        self.parts["conv 2"].weight = self.parts["conv-1"].weight
        self.register_buffer("order", torch.tensor([2, 0, 1]))
        self.register_buffer("mask", torch.tensor([True, False, True]), persistent=False)
        self.register_buffer("nothing", torch.empty(0, 3))
        self.register_buffer("view", torch.arange(12.0).view(3, 4).t()[1:])

    def forward(self, x: torch.Tensor, double: bool = True) -> torch.Tensor:
        x = self.parts["conv 2"](self.parts["conv-1"](x)).mean((2, 3))
        x = torch.where(self.mask, x, -x)[:, self.order] * (2 if double else 1) * torch.tensor([1.0, 0.5, 2.0])
        return torch.cat([x, self.nothing.sum().expand(x.shape[0], 1), x @ self.view.t()], 1)


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_tensors_of_every_kind(tmp_path: Path, batch: int | None) -> None:
    network = seeded(Oddities)
    model = load(export(network, tmp_path / "net.pt2", batch))
    x = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(model(x), network(x), atol=1e-5, rtol=0)
    assert model.graph.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert {"parts.conv-1", "parts.conv 2"} <= set(model.graph.layers)


def test_shared_weights_stay_shared(tmp_path: Path) -> None:
    model = load(export(Shared(), tmp_path / "net.pt2", 1))
    assert model.graph.parameters == sum(parameter.numel() for parameter in Shared().parameters())


def test_half_precision_weights_run_in_their_own_precision(tmp_path: Path) -> None:
    network = seeded(Small).to(torch.bfloat16)
    x = torch.rand(3, 3, 16, 16)
    for batch in (None, 1):
        model = load(export(network, tmp_path / "net.pt2", batch))
        torch.testing.assert_close(model(x), network(x.to(torch.bfloat16)).float())


class Fixed(nn.Module):
    """Counts its inputs and its calls: no size of it says where its batch is."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 16 * 16, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        rows = torch.arange(len(x))
        return self.head(x.flatten(1))[rows, :] + 0 * self.calls


def test_a_batch_that_cannot_be_freed_runs_cut_and_padded_and_says_so(tmp_path: Path) -> None:
    network = seeded(Fixed)
    x = torch.rand(5, 3, 16, 16)
    for batch in (1, 2):
        model = load(export(network, tmp_path / "net.pt2", batch))
        assert model.graph is None
        assert f"the export fixes the batch at {batch} and it cannot be freed; export again" in model.no_graph
        assert model.no_graph in model.assumed
        first = model(x)
        torch.testing.assert_close(first, network(x), atol=1e-5, rtol=0)
        assert torch.equal(model(x), first)
        run = explain(model, x[0], methods=["gradcam", "occlusion"], measures="none")
        assert [run[name].record.status for name in ("gradcam", "occlusion")] == ["skipped", "ok"]


class Quantised(nn.Module):
    """What quantisation to 8 bits makes of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        importlib.import_module("torch.ao.quantization.fx._decomposed")  # registers the operators
        scale = (0.05, 3, -128, 127, torch.int8)
        x = torch.ops.quantized_decomposed.quantize_per_tensor(self.conv(x), *scale)
        return torch.ops.quantized_decomposed.dequantize_per_tensor(x, *scale).mean((2, 3))


@pytest.mark.parametrize("batch", [None, 1])
def test_a_quantised_network_runs_and_says_that_it_has_no_gradient(tmp_path: Path, batch: int | None) -> None:
    network = seeded(Quantised)
    x = torch.rand(3, 3, 16, 16)
    model = load(export(network, tmp_path / "net.pt2", batch))
    torch.testing.assert_close(model(x), network(x))
    assert model.no_graph.startswith("the network is quantised")
    run = explain(model, x[0], methods=["gradcam", "occlusion"], measures="none")
    assert [run[name].record.status for name in ("gradcam", "occlusion")] == ["skipped", "ok"]


def test_an_export_for_inputs_of_several_sizes_is_read_for_that_of_its_example(tmp_path: Path) -> None:
    network = seeded(Small)
    sizes = {0: DIM, 2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    program = torch.export.export(network, (torch.rand(2, 3, 16, 20),), dynamic_shapes=(sizes,))
    torch.export.save(program, tmp_path / "net.pt2")
    model = load(tmp_path / "net.pt2")
    assert model.input.shape == (3, 16, 20)
    assert "the export takes inputs of several sizes: that of its example, (3, 16, 20), is taken" in model.assumed
    for shape in ((3, 16, 20), (3, 9, 12)):
        x = torch.rand(3, *shape)
        torch.testing.assert_close(load(tmp_path / "net.pt2", shape=shape)(x), network(x), atol=1e-5, rtol=0)


class Mixing(nn.Module):
    """Compares the inputs of a batch with each other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mean((2, 3))
        return x - x.mean(0)


def test_a_network_that_mixes_its_batch_is_refused_where_that_shows(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="depends on the other inputs of the batch"):
        load(export(Mixing(), tmp_path / "net.pt2", 2))
    assert load(export(Mixing(), tmp_path / "net.pt2", 1)).graph is None, "a freed batch would mix"


class Dropping(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x.mean((2, 3)), 0.5, self.training)


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + torch.rand(3)


@pytest.mark.parametrize("make", [Small, Dropping, Noise])
def test_a_graph_exported_in_training_is_refused_with_the_remedy(tmp_path: Path, make: type[nn.Module]) -> None:
    for decompose in (False, True):
        program = torch.export.export(make().train(), (torch.rand(2, 3, 16, 16),))
        torch.export.save(program.run_decompositions() if decompose else program, tmp_path / "net.pt2")
        with pytest.raises(RefusedFileError, match=r"training mode .* call net\.eval\(\) before torch\.export\.export"):
            load(tmp_path / "net.pt2")


class Normalised(nn.Module):
    """Has normalisation that looks at each input alone, and dropout that is off."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.norm(x).square().amax((2, 3)), 0.5, self.training)


def test_what_normalises_each_input_alone_is_not_training(tmp_path: Path) -> None:
    network = Normalised().eval()
    x = torch.rand(3, 3, 16, 16)
    for decompose in (False, True):
        program = torch.export.export(network, (torch.rand(2, 3, 16, 16),), dynamic_shapes=({0: DIM},))
        torch.export.save(program.run_decompositions() if decompose else program, tmp_path / "net.pt2")
        torch.testing.assert_close(load(tmp_path / "net.pt2")(x), network(x), atol=1e-5, rtol=0)


def test_the_layout_of_older_torch_is_read(tmp_path: Path) -> None:
    network = seeded(Small)
    path = export(network, tmp_path / "old.pt2", 1)

    def older(entries: dict[str, bytes]) -> None:
        program, buffer = entries["models/model.json"], io.BytesIO()
        torch.save(network.state_dict(), buffer)
        entries.clear()
        entries |= {"serialized_exported_program.json": program, "serialized_state_dict.pt": buffer.getvalue()}
        entries |= {"serialized_constants.pt": b"", "serialized_example_inputs.pt": b"", "version": b"8.8"}

    assert_same(load(network, shape=(3, 16, 16)), load(rewritten(path, older)))


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x).mean(1)


class Quiet(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return x.mean((2, 3))


@pytest.mark.parametrize(
    ("network", "example", "words"),
    [
        (Small().eval(), (torch.rand(0, 3, 16, 16),), "expected a batch of decimal numbers"),
        (Two(), (torch.rand(2, 3), torch.rand(2, 3)), r"takes 2 inputs \(x, y\); expected one tensor"),
        (Words(), (torch.zeros(2, 4, dtype=torch.long),), "its input is torch.int64 of shape"),
        (Tuple(), (torch.rand(1, 3, 12, 10),), "the network returns 2 values"),
        (Quiet(), (torch.rand(2, 3, 4, 4),), "calls 'torch.ops.higher_order.wrap_with_set_grad_enabled'"),
    ],
)
def test_what_is_no_classifier_of_one_input_is_refused(
    tmp_path: Path, network: nn.Module, example: tuple[torch.Tensor, ...], words: str
) -> None:
    torch.export.save(torch.export.export(network, example), tmp_path / "net.pt2")
    with pytest.raises(RefusedFileError, match=words):
        load(tmp_path / "net.pt2")


def weights(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Path]:
    def edit(path: Path) -> Path:
        return edited(
            path, "data/weights/model_weights_config.json", lambda data: change(data["config"]["head.weight"])
        )

    return edit


def node(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Path]:
    def edit(path: Path) -> Path:
        return edited(path, "models/model.json", lambda data: change(data["graph_module"]["graph"]["nodes"][-1]))

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (weights(lambda w: w["tensor_meta"].update(sizes=[{"as_int": 10**15}])), "is no plain tensor"),
        (weights(lambda w: w["tensor_meta"].update(sizes=[{"as_int": 10**15}, {"as_int": 8}])), "does not lie within"),
        (
            weights(lambda w: w["tensor_meta"].update(strides=[{"as_int": 0}, {"as_int": 10**15}])),
            "does not lie within",
        ),
        (weights(lambda w: w["tensor_meta"].update(storage_offset={"as_int": 30})), "does not lie within"),
        (weights(lambda w: w["tensor_meta"].update(storage_offset={"as_int": -1})), "is no plain tensor"),
        (weights(lambda w: w["tensor_meta"].update(dtype=99)), "not what torch.export writes"),
        (weights(lambda w: w.update(path_name="weight_99")), "has no entry 'data/weights/weight_99'"),
        (weights(lambda w: w.update(path_name="../../etc/passwd")), "has no entry"),
        (node(lambda n: n.update(inputs=[])), "not what torch.export writes|does not|missing"),
        (node(lambda n: n["inputs"][0]["arg"].update(as_tensor={"name": "gone"})), "'gone' is used and never computed"),
        (node(lambda n: n["inputs"][0].update(name="gone")), "has no argument 'gone'"),
        (node(lambda n: n.update(target=["torch"])), "not what torch.export writes"),
        (lambda path: edited(path, "models/model.json", lambda data: data.clear()), "graph_module: Field required"),
        (lambda path: rewritten(path, lambda entries: entries.update({"models/b.json": b"{}"})), "found 2"),
        (lambda path: rewritten(path, lambda entries: entries.update({"models/model.json": b"[" * 10**6})), "model"),
    ],
)
def test_a_damaged_archive_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(RefusedFileError, match=words) as caught:
        load(damage(export(seeded(Small), tmp_path / "net.pt2")))
    assert "\n" not in str(caught.value)


class Remembering(nn.Module):
    """An LSTM: torch's kernel trusts the shapes of its states, which an export of one input fixes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.head = nn.LSTM(6, 9, batch_first=True), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x)[0][:, -1])


@pytest.mark.parametrize("batch", [1, 3])
def test_an_lstm_of_a_fixed_batch_gives_what_it_gave(tmp_path: Path, batch: int) -> None:
    network = seeded(Remembering)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns of its own LSTM
        program = torch.export.export(network, (torch.rand(batch, 5, 6),))
    torch.export.save(program, tmp_path / "net.pt2")
    model = load(tmp_path / "net.pt2")
    x = torch.rand(4, 5, 6)
    torch.testing.assert_close(model(x), network(x), atol=1e-5, rtol=1e-5)


def test_a_fixed_batch_that_is_mixed_is_refused_or_run_input_by_input(tmp_path: Path) -> None:
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.flatten(1)
            return rows - rows[:1] / 2

    torch.export.save(torch.export.export(Mixing(), (torch.rand(3, 2, 4),)), tmp_path / "net.pt2")
    with pytest.raises(RefusedFileError, match="depends on the other inputs of the batch"):
        load(tmp_path / "net.pt2")


def test_modules_are_read_out_of_a_note_of_any_length_at_once(tmp_path: Path) -> None:
    def lengthen(model: dict[str, Any]) -> None:
        for noted in model["graph_module"]["graph"]["nodes"]:
            noted["metadata"]["nn_module_stack"] = noted["metadata"].get("nn_module_stack", "") + ";" + "," * 100_000

    path = export(seeded(Small), tmp_path / "net.pt2")
    plain = list(load(path).needed_graph().layers)
    begun = time.perf_counter()
    long = load(edited(path, "models/model.json", lengthen))
    assert list(long.needed_graph().layers) == plain
    assert time.perf_counter() - begun < 30


@pytest.mark.parametrize(
    ("note", "fields"),
    [
        ("L__self___a,a.0,torch.nn.Linear", ["L__self___a", "a.0", "torch.nn.Linear"]),
        ("L['self'].f[0, 1],f(a, b),N", ["L['self'].f[0, 1]", "f(a, b)", "N"]),
        ("", [""]),
    ],
)
def test_commas_within_brackets_divide_nothing(note: str, fields: list[str]) -> None:
    assert _fields(note) == fields
