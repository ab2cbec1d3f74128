"""torch.export archives that carry code, or ask for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.base import CALL, TOUCH, WRITE, Maker, cases, evil
from tests.models.test_pt2 import edited, export, rewritten
from tests.networks import Small, seeded


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


def entry(name: str, content: bytes) -> Maker:
    return lambda path: rewritten(archive(path), lambda entries: entries.update({name: content}))


def old_layout(path: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        program = entries["models/model.json"]
        entries.clear()
        entries.update({"serialized_exported_program.json": program, "serialized_state_dict.pt": evil()})

    rewritten(archive(path), change)


def graph(change: Callable[[dict[str, Any]], object]) -> Maker:
    return lambda path: edited(archive(path), "models/model.json", lambda data: change(data["graph_module"]))


def calling(target: str) -> Maker:
    """Let the last node call something, with a command as its argument."""

    def change(module: dict[str, Any]) -> None:
        node = module["graph"]["nodes"][-1]
        node |= {"target": target, "inputs": [{"name": "command", "arg": {"as_string": TOUCH}, "kind": 1}]}

    return graph(change)


def renamed(old: str, new: str) -> Maker:
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
ARCHIVES: dict[str, tuple[Maker, str]] = {
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

DEFAULTDICT = {"type": "collections.defaultdict", "context": json.dumps(["os", "system"]), "children_spec": []}
HARMLESS: dict[str, Maker] = {
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

EXPORTS = cases("torch.export", ARCHIVES, "model.pt2")
UNHARMED = cases("torch.export", {attack: (make, "") for attack, make in HARMLESS.items()}, "model.pt2")
