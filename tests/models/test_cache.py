"""Graphs that are kept: the same network, faster, and nothing that a stranger put there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.networks import Small, seeded
from xai.api import load
from xai.models import cache, export
from xai.models.model import Model

SPEC = "torchvision:mobilenet_v3_small(weights=None, num_classes=5)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(cache.FOLDER, str(folder))
    return folder


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whether a network was traced, noted each time."""
    found: list[str] = []
    exported = export._exported
    monkeypatch.setattr(export, "_exported", lambda network: found.append("traced") or exported(network))
    return found


def opened() -> Model:
    return load(SPEC, shape=(3, 64, 64))


def test_a_network_is_traced_once(folder: Path, traced: list[str]) -> None:
    one, two = opened(), opened()
    assert traced == ["traced"]
    assert one.graph is not None
    assert two.graph is not None
    x = torch.rand(3, 3, 64, 64)
    assert torch.equal(one(x), two(x))
    assert one.fingerprint == two.fingerprint
    assert one.graph.layers == two.graph.layers
    assert one.graph.parameters == two.graph.parameters
    assert one.graph.bytes_per_input == two.graph.bytes_per_input
    assert one.spatial_layer == two.spatial_layer
    assert one.card == two.card


def test_a_file_is_traced_once_and_another_is_another(folder: Path, traced: list[str], tmp_path: Path) -> None:
    for seed, name in ((0, "a.pt"), (1, "b.pt")):
        torch.jit.save(torch.jit.script(seeded(Small, seed)), tmp_path / name)
    a, b = (load(tmp_path / name, shape=(3, 16, 16)) for name in ("a.pt", "b.pt"))
    again = load(tmp_path / "a.pt", shape=(3, 16, 16))
    assert traced == ["traced"] * 2
    assert a.fingerprint == again.fingerprint != b.fingerprint
    load(tmp_path / "a.pt", shape=(3, 16, 16), mean=0.5)
    load(tmp_path / "a.pt", shape=(3, 20, 16))
    assert traced == ["traced"] * 4


def test_a_live_network_and_a_users_own_code_are_not_kept(folder: Path, tmp_path: Path) -> None:
    network = seeded(Small)
    load(network, shape=(3, 16, 16))
    (tmp_path / "net.py").write_text("from tests.networks import Small as make\n")
    torch.save(network.state_dict(), tmp_path / "w.pt")
    load(tmp_path / "w.pt", arch=f"{tmp_path / 'net.py'}:make", shape=(3, 16, 16))
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("harm", ["cut", "other node", "other weight", "code"])
def test_a_damaged_entry_is_traced_anew(folder: Path, traced: list[str], harm: str, tmp_path: Path) -> None:
    whole = opened()
    (entry,) = folder.glob("*.safetensors")
    if harm == "cut":
        entry.write_bytes(entry.read_bytes()[:-40])
    else:
        with safe_open(entry, "pt") as file:
            notes, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if harm == "other weight":
            tensors["t0"] = tensors["t0"] + 1
        elif harm == "other node":
            notes["nodes"] = notes["nodes"].replace("hardswish", "relu", 1)
        else:
            nodes = json.loads(notes["nodes"])
            call = next(node for node in nodes if node["op"] == "call_function")
            call["target"] = "torch.os.system"
            call["args"] = {"tuple": [f"touch {tmp_path / 'marker'}"]}
            notes["nodes"] = json.dumps(nodes)
            notes["digest"] = cache._digest(notes["nodes"], tensors)  # the attacker knows how
        save_file(tensors, entry, notes)
    again = opened()
    assert traced == ["traced"] * 2
    assert again.fingerprint == whole.fingerprint
    assert not (tmp_path / "marker").exists()


def test_a_folder_that_others_can_write_to_is_not_used(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    opened()
    assert not list(folder.iterdir())


def test_the_entries_used_longest_ago_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened()
    (first,) = folder.glob("*.safetensors")
    monkeypatch.setattr(cache, "MAX_BYTES", first.stat().st_size + 1000)
    load(SPEC, shape=(3, 64, 64), mean=0.5)
    kept = list(folder.iterdir())
    assert len(kept) == 1
    assert kept != [first]
