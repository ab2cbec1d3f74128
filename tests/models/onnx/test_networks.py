"""Whole networks as ONNX: the exporters of torch, scikit-learn, and the files that verification tools share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.networks import Small, seeded
from xai.api import explain, load
from xai.errors import RefusedFileError
from xai.models.model import Model
from xai.models.onnx.reading import read
from xai.models.onnx.runtime import Runner

FILES = Path(__file__).parent / "files"  # what tf2onnx made of Keras; see make_keras.py there


class Signal(nn.Module):
    """A 1-D CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 8, 5, padding=2)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 16, 3, stride=2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool1d(torch.relu(self.norm(self.first(x))), 2)
        return self.head(torch.relu(self.second(x)).mean(-1))


class Sequence(nn.Module):
    """An LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(6, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x)[0][:, -1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.LayerNorm(32), nn.Dropout(), nn.Linear(32, 3))


def vision_transformer() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    network = VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=7)
    nn.init.normal_(network.heads.head.weight)
    return network


def swin() -> nn.Module:
    from torchvision.models.swin_transformer import SwinTransformer

    return SwinTransformer([4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=7)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "small": (Small, (3, 16, 16)),
    "vision transformer": (vision_transformer, (3, 32, 32)),
    "swin": (swin, (3, 32, 32)),
    "signal": (Signal, (2, 100)),
    "sequence": (Sequence, (12, 6)),
    "mlp": (mlp, (10,)),
}


def exported(network: nn.Module, shape: tuple[int, ...], path: Path, how: str) -> Path:
    """Write a network by one of torch's exporters: old, new (both fix the batch at 1) or free."""
    example = torch.rand(2 if how == "free" else 1, *shape)
    free = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if how == "free" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of their own code
        torch.onnx.export(
            network.eval(),
            (example,),
            path,
            dynamo=how != "old",
            verbose=False,
            **({"opset_version": 20} if how == "old" else {"external_data": False}),
            **free,
        )
    return path


@pytest.mark.parametrize("how", ["old", "new", "free"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_torch_exports_is_the_network_that_it_exported(tmp_path: Path, name: str, how: str) -> None:
    make, shape = NETWORKS[name]
    network = seeded(make)
    model = load(exported(network, shape, tmp_path / "net.onnx", how))
    live = load(network, shape=shape, **({} if len(shape) == 3 else {"range": None}))
    assert model.graph is not None, model.no_graph
    assert live.graph is not None
    assert model.input.shape == shape
    x = torch.rand(5, *shape)
    torch.testing.assert_close(model(x), live(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(x[:1]), live(x[:1]), atol=1e-4, rtol=1e-4)
    if len(shape) == 3:
        one, two = (
            explain(each, x[0], methods="gradcam", measures="none", target=1)["gradcam"] for each in (model, live)
        )
        same = two.record.parameters["layer"]
        # The older exporter writes a module's second use as if it were a module of its own.
        assert one.record.parameters["layer"] in (same, same.replace("@", "_") if how == "old" else same)
        np.testing.assert_allclose(one.map, two.map, atol=1e-3)
        outer = {layer.name for layer in live.graph.layers.values() if layer.module and not layer.leaf}
        assert outer <= set(model.graph.layers)


def test_a_node_without_a_module_is_a_layer_of_its_name(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), dtype=np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="first"),
        helper.make_node("Flatten", ["c"], ["y"], name="model/flat:0"),
    ]
    model = load(saved(nodes, tmp_path / "net.onnx", [1, 3, 12, 12], [weight]))
    assert model.graph is not None
    assert list(model.graph.layers) == ["first", "Relu_0", "GlobalAveragePool_0", "model/flat:0"]
    assert model.graph.layers["first"].kind == "Conv"
    assert model.graph.layers["first"].parameters == 54
    assert model.spatial_layer.name == "Relu_0"


def saved(
    nodes: list[onnx.NodeProto],
    path: Path,
    shape: list[int | str | None],
    constants: list[onnx.TensorProto] | None = None,
    opset: int = 20,
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("y",),
    domains: tuple[str, ...] = (),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(name, dtype if dtype != TensorProto.UINT8 else 1, None) for name in outputs],
        constants or [],
    )
    sets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=sets)
    model.ir_version = 10
    onnx.save(model, path)
    return path


def test_an_unknown_operator_is_named_and_the_file_runs_in_onnxruntime(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="determinants"),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    model = load(saved(nodes, tmp_path / "net.onnx", [1, 3, 12, 12]))
    assert model.graph is None
    assert "operator Det (node 'determinants', opset 20) is unknown here; it runs in onnxruntime" in model.no_graph
    x = torch.rand(3, 3, 12, 12)
    torch.testing.assert_close(model(x), torch.linalg.det(x), atol=1e-4, rtol=1e-3)
    run = explain(
        model, x[0], methods=["gradcam", "occlusion", "lime"], measures="none", parameters={"lime": {"samples": 50}}
    )
    assert {finding.method: finding.status for finding in run.findings} == {
        "gradcam": "skipped",
        "occlusion": "ok",
        "lime": "ok",
        "agreement": "ok",
    }
    assert "Det" in run["gradcam"].record.reason


def test_an_operator_that_neither_knows_is_refused(tmp_path: Path) -> None:
    path = saved(
        [helper.make_node("Wish", ["x"], ["y"], name="w", domain="mine")],
        tmp_path / "n.onnx",
        [1, 4],
        domains=("mine",),
    )
    with pytest.raises(
        RefusedFileError,
        match=r"operator Wish of mine \(node 'w', opset 1\) is unknown here, and onnxruntime does not take it either",
    ):
        load(path)


def test_a_graph_that_is_not_onnxruntimes_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xai.models.onnx.operators.base import table

    monkeypatch.setitem(table(), ("", "Relu"), lambda node, x: x)
    nodes = [
        helper.make_node("Sub", ["x", "h"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    half = numpy_helper.from_array(np.float32(0.5), "h")
    model = load(saved(nodes, tmp_path / "net.onnx", [1, 3, 8, 8], [half]))
    assert model.graph is None
    assert "differs from onnxruntime" in model.no_graph
    assert float(model(torch.zeros(2, 3, 8, 8)).abs().max()) == 0


def test_channels_last_is_seen_and_said(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2], name="t"),
        helper.make_node("Conv", ["t", "w"], ["a"], name="conv"),
        helper.make_node("GlobalMaxPool", ["a"], ["b"], name="pool"),
        helper.make_node("Flatten", ["b"], ["y"], name="flat"),
    ]
    model = load(saved(nodes, tmp_path / "net.onnx", ["batch", 10, 12, 3], [numpy_helper.from_array(weight, "w")]))
    assert model.input.shape == (3, 10, 12)
    assert model.input.layout == "channels last"
    assert any("layout" in line for line in model.assumed)
    x = torch.rand(2, 3, 10, 12)
    wanted = nn.functional.conv2d(x, torch.from_numpy(weight)).amax((2, 3))
    torch.testing.assert_close(model(x), wanted, atol=1e-5, rtol=1e-5)
    assert model.spatial_layer.name == "conv"
    assert explain(model, x[0], methods="gradcam", measures="none")["gradcam"].map.shape == (10, 12)


def convolved(path: Path, sizes: list[int | str | None], how: str) -> Path:
    """Write a network of pictures of 8 channels: channels last, channels first, or with nothing that shows which."""
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 8, 3, 3)).astype(np.float32), "w")
    turned = [
        helper.make_node("Mul", ["x", "two"], ["x2"]),
        helper.make_node("Transpose", ["x2"], ["t"], perm=[0, 3, 1, 2]),
    ]
    conv = [helper.make_node("Conv", ["t" if how == "last" else "x", "w"], ["a"])]
    before = {"last": [*turned, *conv], "first": conv, "": [helper.make_node("Softplus", ["x"], ["a"])]}[how]
    after = [
        helper.make_node("GlobalMaxPool" if how else "Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    return saved([*before, *after], path, sizes, [weight, numpy_helper.from_array(np.float32(2), "two")])


def test_channels_are_where_the_graph_has_them(tmp_path: Path) -> None:
    for how, sizes in (("last", ["n", 16, 20, 8]), ("first", ["n", 8, 16, 20])):
        path = convolved(tmp_path / f"{how}.onnx", sizes, how)
        for declared in ({}, {"shape": (8, 16, 20)}, {"layout": f"channels {how}"}):
            model = load(path, **declared)
            assert (model.input.shape, model.input.layout) == ((8, 16, 20), f"channels {how}")
            assert "guess" not in " ".join(model.assumed)
        contradicting = {"shape": (16, 20, 8)} if how == "last" else {"shape": (20, 8, 16)}
        with pytest.raises(RefusedFileError, match=r"declared: input.shape .* is \[8, 16, 20\]; declare the layout"):
            load(path, **contradicting)
    free = load(convolved(tmp_path / "free.onnx", ["n", None, None, 8], "last"), shape=(8, 12, 14))
    assert free.input.layout == "channels last"
    assert free.graph is not None


def test_a_guess_of_where_the_channels_are_is_said_and_can_be_overruled(tmp_path: Path) -> None:
    for sizes, guess in (((16, 20, 8), "first"), ((16, 20, 3), "last")):
        path = convolved(tmp_path / "net.onnx", ["n", *sizes], "")
        shapes = {"first": sizes, "last": (sizes[2], *sizes[:2])}
        model = load(path)
        assert (model.input.shape, model.input.layout) == (shapes[guess], f"channels {guess}")
        (said,) = [line for line in model.assumed if "a guess by its sizes" in line]
        assert model.guessed["input.layout"] == said
        assert not any("as the file declares" in line for line in model.assumed)
        for other, shape in shapes.items():
            for declared in ({"layout": f"channels {other}"}, {"layout": f"channels {other}", "shape": shape}):
                model = load(path, **declared)
                assert (model.input.shape, model.input.layout) == (shape, f"channels {other}")
                x = torch.rand(2, *shape)
                wanted = nn.functional.softplus(x if other == "first" else x.permute(0, 2, 3, 1)).flatten(1)
                torch.testing.assert_close(model(x), wanted)
                assert "guess" not in " ".join(model.assumed)
    assert (
        load(convolved(tmp_path / "net.onnx", ["n", 16, 20, 8], ""), shape=(8, 16, 20)).input.layout == "channels last"
    )


def test_rows_may_come_as_pictures(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="head")]
    path = saved(nodes, tmp_path / "net.onnx", ["n", 64], [numpy_helper.from_array(weight, "w")])
    (tmp_path / "net.yaml").write_text("input: {shape: [1, 8, 8]}\nclasses: [a, b, c]\n")
    model = load(path)
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model(x), x.flatten(1) @ torch.from_numpy(weight))
    (tmp_path / "net.yaml").write_text("input: {shape: [1, 8, 9]}\n")
    with pytest.raises(RefusedFileError, match=r"\(64,\)"):
        load(path)


@pytest.mark.parametrize("shape", [[3, 20, 16], [3, 8, 40], [960], [16, 20, 3], [1, 16, 60]])
@pytest.mark.parametrize("known", [True, False])
def test_a_card_with_as_many_numbers_in_another_shape_is_refused(tmp_path: Path, shape: list[int], known: bool) -> None:
    pooled = helper.make_node("GlobalMaxPool" if known else "Hardmax", ["x"], ["a"])
    path = saved([pooled, helper.make_node("Flatten", ["a"], ["y"])], tmp_path / "net.onnx", ["n", 3, 16, 20])
    (tmp_path / "net.yaml").write_text(f"input: {{shape: {shape}}}\n")
    with pytest.raises(RefusedFileError) as refused:
        load(path)
    assert f"{tmp_path / 'net.yaml'}: input.shape {shape}" in str(refused.value)
    assert "'x' has the shape (3, 16, 20)" in str(refused.value)


def test_bytes_as_input_get_whole_numbers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    (tmp_path / "net.yaml").write_text("input: {shape: [3, 8, 8], range: [0, 255]}\n")
    model = load(saved(nodes, tmp_path / "net.onnx", [1, 3, 8, 8], [axes], dtype=TensorProto.UINT8))
    x = torch.randint(0, 256, (2, 3, 8, 8)).float()
    torch.testing.assert_close(model(x), x.mean((2, 3)))


def test_a_picture_of_bytes_has_their_range(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([1, 2]), "axes")
    model = load(saved(nodes, tmp_path / "net.onnx", ["n", 32, 32, 3], [axes], dtype=TensorProto.UINT8))
    assert model.input.range == (0, 255)
    assert "whole numbers, and rounding has no gradient; it runs in onnxruntime" in model.no_graph
    found = explain(model, np.full((32, 32, 3), 7, dtype=np.uint8), methods="occlusion", measures="none")
    assert found.record.inputs[0].predictions[0].output == pytest.approx(7)


@pytest.mark.parametrize("how", ["old", "new"])
def test_a_file_that_mixes_a_fixed_batch_runs_input_by_input(tmp_path: Path, how: str) -> None:
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.flatten(1)
            return rows - 0.5 * rows.mean(0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = {"opset_version": 20} if how == "old" else {"external_data": False}
        path = tmp_path / "net.onnx"
        torch.onnx.export(Mixing(), (torch.rand(3, 1, 2, 2),), path, dynamo=how == "new", verbose=False, **more)
    model = load(path)
    assert model.graph is None
    assert "depend on the others in its batch" in model.no_graph
    x = torch.rand(5, 1, 2, 2)
    torch.testing.assert_close(model(x), torch.cat([model(row[None]) for row in x]))


@pytest.mark.parametrize("kind", ["Dropout", "BatchNormalization"])
def test_a_file_exported_in_training_mode_is_refused_with_the_remedy(tmp_path: Path, kind: str) -> None:
    numbers = {name: np.ones(3, dtype=np.float32) for name in "sbmv"} | {"r": np.float32(0.5), "t": np.array(True)}
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    inputs = {"Dropout": ["x", "r", "t"], "BatchNormalization": ["x", "s", "b", "m", "v"]}[kind]
    outputs = {"Dropout": ["a"], "BatchNormalization": ["a", "m2", "v2"]}[kind]
    mode = {"training_mode": 1} if kind == "BatchNormalization" else {}
    nodes = [helper.make_node(kind, inputs, outputs, name="it", **mode), helper.make_node("Flatten", ["a"], ["y"])]
    with pytest.raises(RefusedFileError, match=rf"'it' \({kind}\): exported in training mode: call net.eval\(\)"):
        load(saved(nodes, tmp_path / "net.onnx", ["n", 3, 8, 8], constants))


def test_external_data_are_read_from_the_models_own_folder(tmp_path: Path) -> None:
    network = seeded(Small)
    path = exported(network, (3, 16, 16), tmp_path / "inline.onnx", "new")
    model = onnx.load(path)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    assert (tmp_path / "net.data").stat().st_size > 1000
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(load(tmp_path / "net.onnx")(x), load(path)(x))
    (tmp_path / "net.data").write_bytes((tmp_path / "net.data").read_bytes()[:100])
    with pytest.raises(RefusedFileError, match=r"'net.data' does not hold the \d+ bytes of"):
        load(tmp_path / "net.onnx")
    (tmp_path / "net.data").unlink()
    with pytest.raises(RefusedFileError, match="is missing"):
        load(tmp_path / "net.onnx")


@pytest.mark.parametrize("classes", [2, 3])
def test_a_scikit_learn_network_brings_its_classes(tmp_path: Path, classes: int) -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_iris(return_X_y=True)
    kept = labels < classes
    rows, names = rows[kept].astype(np.float32), np.array(["setosa", "versicolor", "virginica"])[labels[kept]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=40, random_state=0)).fit(rows, names)
    (tmp_path / "net.onnx").write_bytes(to_onnx(pipeline, rows[:1]).SerializeToString())
    model = load(tmp_path / "net.onnx")
    assert model.graph is not None, model.no_graph
    assert model.classes == ("setosa", "versicolor", "virginica")[:classes]
    assert model.card.output == "probabilities"
    np.testing.assert_allclose(model(torch.from_numpy(rows)).numpy(), pipeline.predict_proba(rows), atol=1e-5)


def test_a_quantised_file_is_a_black_box(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = exported(seeded(Small), (3, 16, 16), tmp_path / "net.onnx", "old")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime's quantizer uses deprecated parts of onnx
        quantize_dynamic(path, tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    model, whole = load(tmp_path / "int8.onnx"), load(path)
    assert model.graph is None
    assert "onnxruntime" in model.no_graph
    x = torch.rand(4, 3, 16, 16)
    assert float((model(x) - whole(x)).abs().max()) < 0.2


VERIFICATION = [
    *(f"acasxu/onnx/ACASXU_run2a_{i}_{j}_batch_2000.onnx" for i in (1, 2, 3) for j in range(1, 10)),
    "cifar10_resnet2b/onnx/resnet_2b.onnx",
    "mnist_conv_avgpool/onnx/Convnet_avgpool.onnx",
    "mnist_fc/onnx/mnist-net_256x2.onnx",
    "mnist_fc/onnx/mnist-net_256x4.onnx",
    "oval21_base/onnx/cifar_base_kw.onnx",
]


def test_the_list_of_verification_networks_is_whole(data: Path) -> None:
    found = {str(path.relative_to(data / "verification")) for path in data.glob("verification/**/*.onnx")}
    assert found == set(VERIFICATION)


@pytest.mark.parametrize("name", VERIFICATION)
def test_every_network_of_the_verification_problems_opens(data: Path, name: str) -> None:
    path = data / "verification" / name
    model = load(path)
    assert model.graph is not None, model.no_graph
    low, high = model.input.span
    x = low + (high - low) * torch.rand(3, *model.input.shape)
    run = Runner(read(path))
    torch.testing.assert_close(model(x), torch.cat([run(row[None]) for row in x]), atol=1e-4, rtol=1e-4)


def test_two_models_of_one_network_agree_on_its_file(tmp_path: Path) -> None:
    path = exported(seeded(Small), (3, 16, 16), tmp_path / "net.onnx", "new")
    one, two = load(path), load(path)
    assert isinstance(one, Model)
    assert one.fingerprint == two.fingerprint


def test_a_keras_network_with_channels_last_is_read_as_it_is(data_of_keras: dict[str, np.ndarray]) -> None:
    model = load(FILES / "keras.onnx")
    assert model.graph is not None, model.no_graph
    assert (model.input.shape, model.input.layout) == ((3, 20, 24), "channels last")
    x = torch.from_numpy(data_of_keras["x"]).permute(0, 3, 1, 2)
    np.testing.assert_allclose(model(x).numpy(), data_of_keras["y"], atol=1e-5)
    assert model.spatial_layer.name.endswith("last_1/mul_1")
    assert explain(model, x[0], methods="gradcam", measures="none")["gradcam"].map.shape == (20, 24)


def test_a_keras_network_with_a_loop_runs_in_onnxruntime(data_of_keras: dict[str, np.ndarray]) -> None:
    model = load(FILES / "keras_recurrent.onnx")
    assert "operator Loop" in model.no_graph
    np.testing.assert_allclose(model(torch.from_numpy(data_of_keras["xr"])).numpy(), data_of_keras["yr"], atol=1e-5)


@pytest.fixture
def data_of_keras() -> dict[str, np.ndarray]:
    return dict(np.load(FILES / "keras.npz"))


@pytest.mark.parametrize("how", ["new", "free"])
def test_a_batch_that_was_freed_is_said(tmp_path: Path, how: str) -> None:
    model = load(exported(seeded(Small), (3, 16, 16), tmp_path / "net.onnx", how))
    said = [line for line in model.assumed if "batch is fixed at 1: the graph was freed of it" in line]
    assert len(said) == (1 if how == "new" else 0)
