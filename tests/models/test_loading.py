"""One network, whatever file it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.networks import Branching, BranchingTuple, Small, seeded
from xai.api import explain, load
from xai.errors import RefusedFileError, UsageError
from xai.models import loading
from xai.models.architectures import build
from xai.models.model import Model

NET = "from tests.networks import Small as make\n"
CARD = "input: {shape: [3, 16, 16], mean: [0.4, 0.5, 0.6], std: 0.25}\nclasses: [a, b, c, d]\n"


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """The same network in every form."""
    folder = tmp_path_factory.mktemp("forms")
    network = seeded(Small)
    (folder / "net.py").write_text(NET)
    (folder / "card.yaml").write_text(CARD)
    arch, card = f"{folder / 'net.py'}:make", folder / "card.yaml"
    torch.save(network.state_dict(), folder / "new.pt")
    torch.save(network.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    parallel = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": parallel, "best": 0.9}, folder / "checkpoint.pt")
    save_file(network.state_dict(), folder / "weights.safetensors")
    example = torch.rand(1, 3, 16, 16)
    torch.jit.save(torch.jit.trace(network, example), folder / "traced.pt")
    torch.jit.save(torch.jit.script(network), folder / "scripted.pt")
    made = {"live": load(network, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25, classes=tuple("abcd"))}
    for name in ("new.pt", "old.pth", "checkpoint.pt", "weights.safetensors"):
        made[name] = load(folder / name, arch=arch, card=card)
    for name in ("traced.pt", "scripted.pt"):
        made[name] = load(folder / name, card=card)
    made["live script"] = load(torch.jit.script(network), card=card, shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    return made


def test_opening_a_live_script_leaves_its_code_as_it_was() -> None:
    """Scripts of one class share their code, and torch's converter writes into it."""
    script = torch.jit.script(seeded(Small))
    code = script.code
    load(script, shape=(3, 16, 16))
    assert script.code == code


FORMS = ["new.pt", "old.pth", "checkpoint.pt", "weights.safetensors", "traced.pt", "scripted.pt", "live script"]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_answers(forms: dict[str, Model], name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    live, other = forms["live"], forms[name]
    for batch in (1, 2, 5):
        x = torch.rand((batch, 3, 16, 16), generator=generator)
        torch.testing.assert_close(other(x), live(x), atol=1e-5, rtol=0)
    one, two = (explain(model, x[0], target=1) for model in (live, other))
    np.testing.assert_allclose(one["gradcam"].map, two["gradcam"].map, atol=1e-4)
    assert one["gradcam"].record.parameters["layer"] == two["gradcam"].record.parameters["layer"]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_has_the_sources_layer_names(forms: dict[str, Model], name: str) -> None:
    assert {"stem", "norm", "again", "again@1", "act", "act@1", "act@2", "head"} <= set(forms[name].graph.layers)


def test_a_scripts_module_that_is_used_once_has_one_name() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    for script in (torch.jit.script(network), torch.jit.trace(network.eval(), torch.rand(1, 3, 8, 8))):
        assert set("01234") == {
            name for name, layer in load(script, shape=(3, 8, 8)).graph.layers.items() if layer.module
        }


def test_the_same_tensors_have_the_same_fingerprint(forms: dict[str, Model]) -> None:
    assert len({forms[name].fingerprint for name in ("live", "new.pt", "checkpoint.pt", "weights.safetensors")}) == 1
    other = load(seeded(Small, seed=1), shape=(3, 16, 16), mean=(0.4, 0.5, 0.6), std=0.25)
    assert other.fingerprint != forms["live"].fingerprint


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_a_real_network_as_torchscript(tmp_path: Path, kind: str) -> None:
    network = build("torchvision:resnet18", seed=0).network.eval()
    x = torch.rand(3, 64, 64)
    script = torch.jit.trace(network, x[None]) if kind == "traced" else torch.jit.script(network)
    torch.jit.save(script, tmp_path / "model.pt")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "card.yaml").write_text("input: {shape: [3, 64, 64], mean: 0, std: 1}")
    options = {"card": tmp_path / "card.yaml"}
    models = [
        load(network, shape=(3, 64, 64)),
        load(tmp_path / "weights.pth", arch="torchvision:resnet18", **options),
        load(tmp_path / "weights.safetensors", arch="torchvision:resnet18", **options),
        load(tmp_path / "model.pt", **options),
    ]
    runs = [explain(model, x, methods=["gradcam"], target=5)["gradcam"] for model in models]
    for model, run in zip(models, runs, strict=True):
        torch.testing.assert_close(model(x[None]), models[0](x[None]), atol=1e-5, rtol=0)
        np.testing.assert_allclose(run.map, runs[0].map, atol=1e-4)
        assert run.record.parameters["layer"] == "layer4"


def test_a_library_brings_its_preprocessing_and_classes() -> None:
    model = load("torchvision:resnet18(weights=None)", seed=3)
    assert model.input.shape == (3, 224, 224)
    assert model.input.mean == (0.485, 0.456, 0.406)
    assert model.input.crop_fraction == pytest.approx(224 / 256)
    assert model.classes[207] == "golden retriever"
    assert any("random" in line for line in model.assumed)
    again = load("torchvision:resnet18(weights=None)", seed=3)
    assert again.fingerprint == model.fingerprint


def test_a_file_that_changes_while_it_is_read_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(seeded(Small)), path)
    read = loading.read_file

    def slow(*arguments: object) -> object:
        found = read(*arguments)
        torch.jit.save(torch.jit.script(seeded(Small, 1)), path)
        return found

    monkeypatch.setattr(loading, "read_file", slow)
    with pytest.raises(RefusedFileError, match="written to while it was read"):
        load(path, shape=(3, 16, 16))


def test_a_card_is_laid_over_what_the_library_declares(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("input: {shape: [3, 64, 64]}")
    model = load("torchvision:resnet18(weights=None)", card=tmp_path / "card.yaml", std=(0.2, 0.2, 0.2))
    assert model.input.shape == (3, 64, 64)
    assert model.input.mean == (0.485, 0.456, 0.406)
    assert model.input.std == (0.2, 0.2, 0.2)
    line = next(line for line in model.assumed if "of the input" in line)
    assert line.startswith("mean, resize, crop_fraction, interpolation of the input: as torchvision declares")


def test_a_live_module_takes_a_card(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(CARD)
    assert load(seeded(Small), card=tmp_path / "card.yaml").classes == ("a", "b", "c", "d")


def test_other_classes_than_the_librarys_are_numbered() -> None:
    model = load("torchvision:resnet18(weights=None, num_classes=7)")
    assert model.classes == tuple(f"class {index}" for index in range(7))
    model = load("timm:resnet18(pretrained=False, num_classes=4)", classes=("a", "b", "c", "d"))
    assert model.classes == ("a", "b", "c", "d")
    assert model.input.interpolation in ("bilinear", "bicubic")


def test_published_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UsageError, match=r"random weights: 'torchvision:resnet18\(weights=None\)'"):
        load("torchvision:resnet18")


def test_a_folder_with_one_model_is_that_model(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "model.yaml").write_text(CARD)
    torch.save(seeded(Small).state_dict(), tmp_path / "best.pt")
    assert load(tmp_path, arch=f"{tmp_path / 'net.py'}:make").classes == ("a", "b", "c", "d")
    torch.save(seeded(Small).state_dict(), tmp_path / "last.pt")
    with pytest.raises(UsageError, match="expected one model file in it, found 2"):
        load(tmp_path, arch=f"{tmp_path / 'net.py'}:make")


def test_the_card_named_like_the_file_goes_before_the_folders(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "model.yaml").write_text(CARD)
    (tmp_path / "best.yaml").write_text(CARD.replace("[a, b, c, d]", "[e, f, g, h]"))
    torch.save(seeded(Small).state_dict(), tmp_path / "best.pt")
    model = load(tmp_path / "best.pt", arch=f"{tmp_path / 'net.py'}:make")
    assert model.classes == ("e", "f", "g", "h")


def test_an_architecture_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("from tests.networks import Small\n")
    (tmp_path / "net.py").write_text("import models\n\ndef make():\n    return models.Small()\n")
    torch.save(seeded(Small).state_dict(), tmp_path / "best.pt")
    load(tmp_path / "best.pt", arch=f"{tmp_path / 'net.py'}:make", shape=(3, 16, 16))


def test_a_module_that_cannot_be_exported_runs_as_a_black_box() -> None:
    network = Branching().train()
    model = load(network, shape=(3, 12, 10))
    assert model.graph is None
    run = explain(model, torch.rand(3, 12, 10))
    assert run["gradcam"].record.status == "skipped"
    assert "black box: torch.export cannot follow this network" in run["gradcam"].record.reason
    assert run["occlusion"].record.status == "ok"
    assert network.training


class Counting(nn.Module):
    """Fixes its batch size while it is traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), -1)[:, :5]


def test_a_network_that_fixes_its_batch_says_what_to_change() -> None:
    model = load(Counting(), shape=(3, 12, 10))
    assert "len(x) does that, x.shape[0] does not" in model.no_graph


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_runs_in_its_own(dtype: torch.dtype) -> None:
    network = seeded(Small).to(dtype)
    model = load(network, shape=(3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    assert model.graph is not None
    assert model(x).dtype == torch.float32
    torch.testing.assert_close(model(x), network(x.to(dtype)).float())
    assert explain(model, x[0], methods=["gradcam"])["gradcam"].record.status == "ok"


def test_half_precision_weights_are_said_to_run_as_float32(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    torch.save(seeded(Small).half().state_dict(), tmp_path / "half.pt")
    model = load(tmp_path / "half.pt", arch=f"{tmp_path / 'net.py'}:make", shape=(3, 16, 16))
    assert "weights stored as float16 run as float32" in model.assumed


def test_a_live_script_in_training_is_read_in_evaluation_and_left_as_it_was() -> None:
    script = torch.jit.script(seeded(Small)).train()
    model = load(script, shape=(3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    assert script.training
    torch.testing.assert_close(model(x), seeded(Small)(x))


class InPlace(nn.Module):
    """Normalises its input in place and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.conv(x.sub_(0.5).div_(0.25)).mean((2, 3))


def test_a_network_that_writes_into_its_input_or_buffers_changes_nothing() -> None:
    network = InPlace()
    model = load(network, shape=(3, 8, 8))
    fingerprint = model.fingerprint
    x = torch.rand(1, 3, 8, 8)
    before = x.clone()
    first, second = model(x), model(x)
    assert torch.equal(x, before)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, network(x.clone()))
    del model.graph.__dict__["fingerprint"]
    assert model.graph.fingerprint == fingerprint, "its buffers were not counted up"


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_a_transformer_as_torchscript_keeps_grid_and_parameters(kind: str) -> None:
    network = seeded(Tokens)
    x = torch.rand(1, 3, 16, 16)
    script = torch.jit.trace(network, x) if kind == "traced" else torch.jit.script(network)
    live, other = (load(each, shape=(3, 16, 16)) for each in (network, script))
    assert other.graph.parameters == live.graph.parameters > 0
    assert sum(layer.parameters for layer in other.graph.layers.values() if layer.leaf) > 0
    one, two = (explain(model, x[0], methods=["gradcam"], target=0)["gradcam"] for model in (live, other))
    assert one.record.parameters["layer"] == two.record.parameters["layer"] == "norm"
    np.testing.assert_allclose(one.map, two.map, atol=1e-5)


class Tokens(nn.Module):
    """A transformer that reads its class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.after = nn.LayerNorm(8), nn.LayerNorm(8)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.extra.expand(x.shape[0], -1, -1), tokens], dim=1)
        y = self.norm(tokens)
        weights = (self.query(y) @ self.key(y).transpose(1, 2) / 8**0.5).softmax(-1)
        tokens = self.after(tokens + weights @ self.value(y))
        return self.head(tokens[:, 0])


def test_a_mask_of_minus_infinity_is_no_fault() -> None:
    network = seeded(Small)
    network.register_buffer("mask", torch.full((2, 2), -torch.inf))
    assert load(network, shape=(3, 16, 16)).graph is not None


def test_a_black_box_that_returns_a_tuple_is_refused_as_such() -> None:
    with pytest.raises(RefusedFileError, match="returns tuple; expected one tensor"):
        load(BranchingTuple(), shape=(3, 12, 10))


def test_labels_come_before_the_card(tmp_path: Path) -> None:
    for name, text in (("l.txt", "w\nx\n\ny\nz\n"), ("l.json", '["w", "x", "y", "z"]')):
        (tmp_path / name).write_text(text)
        model = load(seeded(Small), shape=(3, 16, 16), labels=tmp_path / name)
        assert model.classes == ("w", "x", "y", "z")


class Shared(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.two = nn.Conv2d(3, 3, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x)).mean((2, 3))


def test_shared_weights_stay_shared() -> None:
    network = Shared()
    model = load(network, shape=(3, 8, 8))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x), network(x))
    assert model.graph.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_a_name_goes_before_a_number_that_reads_the_same() -> None:
    model = load(seeded(Small), shape=(3, 16, 16), classes=("3", "2", "1", "0"))
    assert model.target("3").index == 0
    assert model.target(3).index == 3
