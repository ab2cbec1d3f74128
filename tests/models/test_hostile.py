"""Hostile files: each would leave a marker if a byte of it ran, or fill the memory; each is refused in one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tests.models.test_pt2 import edited, export, rewritten
from tests.networks import Linear, Small, seeded
from xai.api import load
from xai.cli.main import run

TOUCH = "touch marker"
CALL = f"__import__('os').system({TOUCH!r})"
WRITE = "open('marker','w')"  # without a dot, which cuts names
MARKER = Path("marker")


class Evil:
    """Leaves a marker when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (TOUCH,))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save("image.png")
    return tmp_path


@pytest.fixture
def refused(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command line on a model that must be refused; return the one line."""

    def call(model: str, *arguments: str, code: int = 4) -> str:
        assert run(["explain", model, "image.png", "-o", "out", *arguments]) == code
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert captured.out == ""
        assert len(lines) == 1, captured.err
        assert not MARKER.exists(), "something of the file ran"
        assert not Path("out").exists()
        return lines[0]

    return call


def saved(content: object, **options: Any) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path, **options)


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def evil() -> bytes:
    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    return buffer.getvalue()


PICKLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an object": (saved(Evil()), r"(posix.system), and opening them could run code; save net.state_dict() instead"),
    "an object in the old form": (saved(Evil(), _use_new_zipfile_serialization=False), "(posix.system)"),
    "a whole network": (saved(Linear()), "(tests.networks.Linear), and opening them could run code; save"),
    "an object among tensors": (saved({"state_dict": {"a": torch.ones(1)}, "more": Evil()}), "--trust-model"),
    "a plain pickle": (written(pickle.dumps(Evil(), 4)), "a pickle of Python objects (posix.system)"),
    "a plain pickle in protocol 2": (written(pickle.dumps(Evil(), 2)), "a pickle of Python objects (posix.system)"),
    "a classifier": (written(pickle.dumps(np.random.default_rng(0))), "a pickle of Python objects (numpy"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_not_opened(refused: Callable[..., str], place: Path, name: str) -> None:
    make, words = PICKLES[name]
    make(place / "model.pt")
    assert words in refused("model.pt")


def test_the_pickles_here_would_run(place: Path) -> None:
    saved(Evil())(place / "model.pt")
    torch.load("model.pt", weights_only=False)
    assert MARKER.exists()
    MARKER.unlink()
    pickled_inside(place / "model.pt2", "weights")
    with contextlib.suppress(Exception):  # it runs, and then finds no weight
        torch.export.load("model.pt2")
    assert MARKER.exists()


def archive(path: Path) -> Path:
    return export(seeded(Small), path)


def pickled_inside(path: Path, folder: str) -> None:
    """Say that one weight is stored as a pickle, and store one that would run."""
    kind = {"weights": "weight_0", "constants": "custom_obj_0"}[folder]

    def change(data: dict[str, Any]) -> None:
        some = next(iter(data["config"].values()), {"is_param": False, "tensor_meta": None})
        data["config"]["stem.weight"] = {**some, "path_name": kind, "use_pickle": True}

    edited(archive(path), f"data/{folder}/model_{folder}_config.json", change)
    rewritten(path, lambda entries: entries.update({f"data/{folder}/{kind}": evil()}))
    if folder == "constants":  # which are read first, and must be refused for what they are
        edited(path, "data/weights/model_weights_config.json", lambda data: data["config"].pop("stem.weight"))


def entry(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda path: rewritten(archive(path), lambda entries: entries.update({name: content}))


def old_layout(path: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        program = entries["models/model.json"]
        entries.clear()
        entries.update({"serialized_exported_program.json": program, "serialized_state_dict.pt": evil()})

    rewritten(archive(path), change)


def graph(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda path: edited(archive(path), "models/model.json", lambda data: change(data["graph_module"]))


def calling(target: str) -> Callable[[Path], object]:
    """Let the last node call something, with a command as its argument."""

    def change(module: dict[str, Any]) -> None:
        node = module["graph"]["nodes"][-1]
        node |= {"target": target, "inputs": [{"name": "command", "arg": {"as_string": TOUCH}, "kind": 1}]}

    return graph(change)


def renamed(old: str, new: str) -> Callable[[Path], object]:
    """Give a value of the graph another name, wherever it stands."""
    return lambda path: rewritten(
        archive(path),
        lambda entries: entries.update(
            {
                name: entries[name].replace(json.dumps(old).encode(), json.dumps(new).encode())
                for name in ("models/model.json", "data/weights/model_weights_config.json")
            }
        ),
    )


TARGETS = [
    "torch.os.system",
    "torch.hub.os.system",
    "torch.ops.load_library",
    "torch.hub.load",
    "torch.ops.aten.from_file.default",
    "torch.ops.aten.save.default",
    "torch.ops.aten.__class__.default",
    "torch.ops.aten.set_.source_Tensor",
    "torch.ops.inductor._reinterpret_tensor.default",
    "torch.ops.higher_order.run_const_graph",
    "_operator.attrgetter",
    "_operator.methodcaller",
    "_operator.pow",
    "math.__loader__.load_module",
    "builtins.eval",
    "#extension",
    "os.system",
]
ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle among the weights": (lambda path: pickled_inside(path, "weights"), "'stem.weight' is stored as a pickle"),
    "a pickle among the constants": (lambda path: pickled_inside(path, "constants"), "is stored as a pickle"),
    "a pickle for all weights": (entry("data/weights/model.pt", evil()), "Python objects besides tensors"),
    "a pickle in the older layout": (old_layout, "Python objects besides tensors"),
    "compiled code": (entry("data/aotinductor/model/model.so", b"\x7fELF"), "holds compiled code (data/aotinductor"),
    "compiled code elsewhere": (entry("extra/kernel.so", b"\x7fELF"), "holds compiled code (extra/kernel.so)"),
    "an expression as a size": (
        graph(lambda module: module["graph"]["tensor_values"]["x"].update(sizes=[{"as_expr": {"expr_str": CALL}}] * 4)),
        "a size is an expression without a value",
    ),
    "an argument of code": (
        graph(lambda module: module["graph"]["nodes"][-1]["inputs"][1].update(arg={"as_operator": "torch.os.system"})),
        "an argument of the kind 'operator' is not allowed",
    ),
    "an argument that is an object": (
        graph(lambda module: module["graph"]["nodes"][-1]["inputs"][1].update(arg={"as_custom_obj": {"name": "x"}})),
        "an argument of the kind 'custom_obj' is not allowed",
    ),
    **{f"a call of {target}": (calling(target), f"it calls {target!r}") for target in TARGETS},
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_nothing_in_an_export_runs(refused: Callable[..., str], place: Path, name: str) -> None:
    make, words = ARCHIVES[name]
    make(place / "model.pt2")
    assert words in refused("model.pt2")


DEFAULTDICT = {"type": "collections.defaultdict", "context": json.dumps(["os", "system"]), "children_spec": []}
HARMLESS: dict[str, Callable[[Path], object]] = {
    "a pickle as example inputs": entry("data/sample_inputs/model.pt", evil()),
    "an expression among the values": graph(
        lambda module: module["graph"]["tensor_values"]["linear"].update(sizes=[{"as_expr": {"expr_str": CALL}}])
    ),
    "a tree of objects": graph(
        lambda module: module["module_call_graph"][0]["signature"].update(in_spec=json.dumps([1, DEFAULTDICT]))
    ),
    "code as the input's name": renamed("x", f"x={WRITE}"),
    "code as a tensor's name": renamed("stem.weight", f'stem.weight", {WRITE})#'),
    "code as a module's name": graph(
        lambda module: module["graph"]["nodes"][0]["metadata"].update(nn_module_stack=f"a,{CALL},{CALL}")
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_an_export_does_not_need_is_not_looked_at(place: Path, name: str) -> None:
    HARMLESS[name](place / "model.pt2")
    model = load("model.pt2")
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model(x), seeded(Small)(x), atol=1e-5, rtol=0)
    assert not MARKER.exists()


def script(path: Path, old: str = "", new: str = "", name: str | None = None) -> None:
    """Save a TorchScript program, and change its code."""
    torch.jit.save(torch.jit.script(seeded(Small)), path)
    with zipfile.ZipFile(path) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    code = next(each for each in entries if each.endswith("tests/networks.py"))
    changed = entries.pop(code).replace(old.encode(), new.encode())
    entries[name or code] = changed
    path.write_bytes(zipped(entries))


class Setting(nn.Module):
    """Runs code while it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.state = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return (1, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        self.state = int(torch.from_file("marker", True, 4).size(0))


def at_loading(path: Path) -> None:
    torch.jit.save(torch.jit.script(Setting()), path)


RETURN = "return (head)"
CODE = [
    'y = torch.from_file("marker", True, 4)',
    'y = ops.aten.from_file("marker", True, 4)',
    'y = getattr(torch, "from_file")("marker", True, 4)',
    'y = getattr(torch, "\\146rom_file")("marker", True, 4)',
    'y = (torch. # a comment\n  from_file)("marker", True, 4)',
    'y = torch. \\\n  from_file("marker", True, 4)',
    'f = torch.from_file\n    y = f("marker", True, 4)',
    'torch.save(x, "marker")',
    'f = torch.save\n    f(x, "marker")',
    'ops.aoti.load("marker")',
    "ops.prim.PythonOp(x)",
    "ops.inductor._reinterpret_tensor(x, [9], [9], 9)",
    "y = __torch__.torch.classes.dist_rpc.WorkerInfo()",
    'y = rpc_sync("marker", x)',
]


@pytest.mark.parametrize("code", CODE)
def test_no_script_reaches_beyond_itself(refused: Callable[..., str], place: Path, code: str) -> None:
    script(place / "model.pt", RETURN, f"{code}\n    {RETURN}")
    assert "is a program that reaches beyond itself" in refused("model.pt")


def test_a_script_that_acts_while_it_is_loaded_is_not_loaded(refused: Callable[..., str], place: Path) -> None:
    at_loading(place / "model.pt")
    torch.jit.load("model.pt")
    assert MARKER.exists(), "it would run"
    MARKER.unlink()
    assert "(... " not in refused("model.pt")


def test_code_under_a_name_in_capitals_is_looked_at(refused: Callable[..., str], place: Path) -> None:
    script(
        place / "model.pt",
        RETURN,
        f"y = torch.neg(x)\n    {CODE[0]}\n    {RETURN}",
        "model/code/__torch__/tests/networks.PY",
    )
    assert "is a program that reaches beyond itself" in refused("model.pt")


def test_code_too_deep_for_torch_is_refused(refused: Callable[..., str], place: Path) -> None:
    for deep in ("(" * 100_000 + "x" + ")" * 100_000, "-" * 100_000 + "x", "not " * 100_000 + "x", "x**" * 5000 + "x"):
        script(place / "model.pt", RETURN, f"y = {deep}\n    {RETURN}")
        assert "holds code that torch.jit.save does not write" in refused("model.pt")


def claimed(size: int) -> bytes:
    """Return an archive that claims another size for its entry."""
    content = zipped({"a/data.pkl": b"0" * 100})
    place = content.index(b"PK\x01\x02") + 24
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


def two_directories() -> bytes:
    """Return an archive that torch and Python read differently: other entries lie before it."""
    return b"PK\x03\x04" + zipped({"a/data.pkl": b"1"}) + zipped({"a/data.pkl": b"2"})


def twice(first: str, second: str) -> bytes:
    content = zipped({first: b"1", second: b"2"})
    return content.replace(second.encode(), first.encode())


def packed(make: Callable[[Path], object]) -> bytes:
    make(Path("inner"))
    content = Path("inner").read_bytes()
    Path("inner").unlink()
    return content


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return buffer.getvalue()


def package(path: Path) -> None:
    with torch.package.PackageExporter(path) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", nn.ReLU())


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))


def header(fields: dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a bomb that says so": (lambda: claimed(4_000_000_000), "would unpack from"),
    "a bomb": (lambda: zipped({"a/data.pkl": bytes(200 * 2**20)}, zipfile.ZIP_DEFLATED), "would unpack from"),
    "a name that stands twice": (lambda: twice("a/data.pkl", "a/data.pkx"), "a name stands twice"),
    "a name outside": (lambda: zipped({"a/data.pkl": b"", "a/../../../marker": b"x"}), "a place outside itself"),
    "two directories": (two_directories, "different programs would read differently"),
    "an archive in an archive": (
        lambda: zipped({"model.pt": zipped({"a/data.pkl": b"1"})}),
        "holds model.pt: unpack it",
    ),
    "an empty archive": (lambda: zipped({}), "expected one of"),
    "a tar archive": (tarred, "a tar archive: unpack it"),
    "a package": (lambda: packed(package), "a torch.package archive, which is code"),
    "a Keras file": (
        lambda: zipped({"config.json": b"{}", "model.weights.h5": b""}),
        "a Keras file: convert it to ONNX",
    ),
    "an HDF5 file": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file (Keras): convert it"),
    "a GGUF file": (lambda: b"GGUF" + bytes(99), "a GGUF file"),
    "a TorchServe archive": (
        lambda: zipped({"MAR-INF/MANIFEST.json": b"{}", "handler.py": b"", "model.pt": b""}),
        "a TorchServe archive (.mar): unpack it and give model.pt",
    ),
    "arrays": (lambda: packed(arrays), "a file of NumPy arrays"),
    "a compressed file": (lambda: b"\x1f\x8b\x08" + bytes(99), "compressed (gzip): unpack it"),
    "a TensorFlow Lite file": (lambda: b"\0\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "a header too long": (lambda: header({}, length=10**15), "of an unknown kind"),
    "a header longer than the file": (lambda: header({}, length=10**7), "damaged or cut short"),
    "a tensor of 10^15 numbers": (lambda: header({"a": tensor([10**15], 0, 4 * 10**15)}), "damaged or cut short"),
    "tensors that overlap": (
        lambda: header({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
        "damaged or cut short",
    ),
    "a tensor with another size": (lambda: header({"a": tensor([3], 0, 8)}, bytes(8)), "damaged or cut short"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_for_what_it_is(refused: Callable[..., str], place: Path, name: str) -> None:
    make, words = FILES[name]
    (place / "model.bin").write_bytes(make())
    tracemalloc.start()
    line = refused("model.bin")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words in line
    assert peak < 100 * 2**20


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has such files")
def test_what_is_no_file_is_not_waited_for(refused: Callable[..., str], place: Path) -> None:
    os.mkfifo("pipe.pt")
    (place / "zero.pt").symlink_to("/dev/zero")
    for name in ("pipe.pt", "/dev/zero", "zero.pt"):
        assert "is neither a file nor a folder" in refused(name, code=2)


def test_a_link_that_the_user_names_is_followed(place: Path) -> None:
    (place / "far").mkdir()
    archive(place / "far" / "net.pt2")
    (place / "near.pt2").symlink_to(place / "far" / "net.pt2")
    assert load("near.pt2").input.shape == (3, 16, 16)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{last}'] * 9)}]\n" for last, key in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {k0: 0, k1: 1}\n" + "".join(
    f"{key}: &{key} {{<<: [{', '.join([f'*{last}'] * 9)}]}}\n" for last, key in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (f"name: !!python/object/apply:os.system ['{TOUCH}']", "is not YAML: could not determine a constructor"),
        (f"!!python/object/new:os.system ['{TOUCH}']", "is not YAML"),
        ("architecture: net.py:make", "code is never run because a card asks for it: name it yourself with --arch"),
        (BOMB, "aliases (*name) are not allowed"),
        (MERGED, "aliases (*name) are not allowed"),
        ("name: " + "9" * 100_000, "is not YAML"),
        ("[" * 100_000, "is not YAML"),
    ],
)
def test_a_card_is_data(refused: Callable[..., str], place: Path, card: str, words: str) -> None:
    (place / "net.py").write_text(f"import os\nos.system({TOUCH!r})\n")
    save_file({"weight": Linear().weight.detach()}, "model.safetensors")
    (place / "model.yaml").write_text(card)
    assert words in refused("model.safetensors")


def test_a_card_that_is_a_link_out_of_the_models_folder_is_refused(refused: Callable[..., str], place: Path) -> None:
    (place / "secret.yaml").write_text("name: secret")
    (place / "folder").mkdir()
    archive(place / "folder" / "net.pt2")
    (place / "folder" / "model.yaml").symlink_to(place / "secret.yaml")
    line = refused("folder/net.pt2")
    assert "is a link out of the model's folder" in line
    (place / "folder" / "model.yaml").unlink()
    (place / "folder" / "model.yaml").symlink_to(place / "folder" / "card.yaml")
    (place / "folder" / "card.yaml").write_text("name: near")
    assert load("folder/net.pt2").name == "near"
