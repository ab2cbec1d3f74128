"""Traced graphs, kept in the user's cache folder: a network that was traced once opens faster.

An entry is a file of tensors and a list of nodes: data, of which operators are looked up in the same list as those of a
model file. Where an entry is missing, damaged or not the user's own, the network is traced as if there were no cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import operator
import os
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import fx, nn

from xai.models.exported import ExportError, resolved
from xai.models.graph import attribute
from xai.version import __version__

log = logging.getLogger(__name__)

FOLDER, OFF = "XAI_CACHE_DIR", "off"
MAX_BYTES = 4 * 2**30


class _NotPlainError(Exception):
    """A graph holds something that an entry cannot."""


def key(*parts: object) -> str:
    """Return the key of what determines a graph: a network's identity and how it is wrapped."""
    text = "\n".join(map(str, (__version__, torch.__version__, _source(), *parts)))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _source() -> str:
    """Return a digest of the code that makes graphs of files: other code, other entries."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fetch(name: str) -> fx.GraphModule | None:
    """Return the graph that was kept under a key, or None."""
    folder = _folder()
    path = folder / f"{name}.safetensors" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        module = _opened(path)
        os.utime(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, ExportError) as error:
        log.debug("entry %s of the cache is damaged: %s", name, error)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return module


def _opened(path: Path) -> fx.GraphModule:
    """Return the graph of an entry; raise whatever is wrong with it."""
    with safe_open(path, "pt") as file:
        notes = file.metadata() or {}
        # Copies lie where torch puts tensors: kernels round differently for others, and the file may change below them.
        tensors = {place: file.get_tensor(place).clone() for place in file.keys()}  # noqa: SIM118  # it is no mapping
    if _digest(notes["nodes"], tensors) != notes["digest"]:
        raise ValueError("its digest differs")
    return _module(json.loads(notes["nodes"]), tensors)


def keep(name: str, module: fx.GraphModule) -> None:
    """Keep a graph under a key; whatever goes wrong in it is no harm."""
    folder = _folder()
    if folder is None:
        return
    try:
        nodes, tensors = _plain(module)
        digest = _digest(nodes, tensors)
        descriptor, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
        os.close(descriptor)
        try:
            save_file(tensors, partial, {"nodes": nodes, "digest": digest})
            os.replace(partial, folder / f"{name}.safetensors")  # noqa: PTH105  # atomic, as Path.replace, for a str
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)  # noqa: PTH108  # gone already if all went well
        _make_room(folder)
    except (_NotPlainError, SafetensorError, OSError, ValueError) as error:
        log.debug("a graph is not kept: %s", error)


def _folder() -> Path | None:
    """Return the cache's folder, made if need be; None if it is switched off or somebody else could write there."""
    named = os.environ.get(FOLDER, "")
    if named == OFF:
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "xai" / "graphs"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    own = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return folder if own else None


def _make_room(folder: Path) -> None:
    """Remove the entries that were used longest ago, until the rest is small enough."""
    entries = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.safetensors"))
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= MAX_BYTES:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of tensors by name."""
    return _digest("", tensors)


def _digest(nodes: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(nodes.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(module: fx.GraphModule) -> tuple[str, dict[str, torch.Tensor]]:
    """Return a graph's nodes as JSON, and its tensors by place; a tensor that stands twice is kept once."""
    nodes: list[dict[str, Any]] = []
    tensors: dict[str, torch.Tensor] = {}
    places: dict[int, str] = {}
    for node in module.graph.nodes:
        entry: dict[str, Any] = {"op": node.op, "name": node.name, "target": _target_name(node)}
        if node.op == "get_attr":
            tensor = attribute(module, str(node.target))
            place = places.setdefault(id(tensor), f"t{len(places)}")
            tensors[place] = tensor.detach().contiguous()
            entry |= {"place": place, "trained": isinstance(tensor, nn.Parameter)}
        else:
            entry |= {"args": _written(node.args), "kwargs": _written(node.kwargs)}
        entry |= {"value": _value_written(node), "stack": _stack_written(node)}
        nodes.append(entry)
    return json.dumps(nodes), tensors


def _module(nodes: list[dict[str, Any]], tensors: Mapping[str, torch.Tensor]) -> fx.GraphModule:
    """Build a graph of its entry."""
    root, graph = nn.Module(), fx.Graph()
    made: dict[str, fx.Node] = {}
    kept: dict[str, torch.Tensor] = {}
    for entry in nodes:
        kind = entry["op"]
        if not re.fullmatch(r"\w+", entry["name"]):
            raise ValueError("a name is no word")
        if kind == "get_attr":
            place = entry["place"]
            if place not in kept:
                kept[place] = tensors[place]
                if entry["trained"]:
                    root.register_parameter(place, nn.Parameter(tensors[place], requires_grad=False))
                else:
                    root.register_buffer(place, tensors[place])
            node = graph.create_node("get_attr", place, name=entry["name"])
        else:
            args, kwargs = _read(entry["args"], made), _read(entry["kwargs"], made)
            target = _target(entry["target"]) if kind == "call_function" else entry["name"]
            if kind not in ("placeholder", "call_function", "output"):
                raise ValueError(f"a node of kind {kind}")
            node = graph.create_node(kind, target, tuple(args), kwargs, name=entry["name"])
        _restore(node, entry)
        made[entry["name"]] = node
    graph.lint()
    return fx.GraphModule(root, graph)


def _restore(node: fx.Node, entry: Mapping[str, Any]) -> None:
    value = entry["value"]
    if value is not None:
        parts = [_meta(part) for part in value["parts"]]
        node.meta["val"] = parts if value["several"] else parts[0]
    if entry["stack"]:
        node.meta["nn_module_stack"] = {key: (path, kind) for key, path, kind in entry["stack"]}


def _meta(part: tuple[list[int], str] | None) -> torch.Tensor | None:
    return None if part is None else torch.empty(part[0], dtype=_named("dtype", part[1]), device="meta")


def _value_written(node: fx.Node) -> dict[str, Any] | None:
    """Return the shapes and types of what a node gives."""
    value = node.meta.get("val")
    several = isinstance(value, list | tuple)
    parts = list(value) if isinstance(value, list | tuple) else [value]
    if not any(isinstance(part, torch.Tensor) for part in parts):
        return None
    return {"several": several, "parts": [_part_written(part) for part in parts]}


def _part_written(part: Any) -> tuple[list[int], str] | None:
    if not isinstance(part, torch.Tensor):
        return None
    sizes = [int(size.node.hint) if isinstance(size, torch.SymInt) else int(size) for size in part.shape]
    return sizes, str(part.dtype).removeprefix("torch.")


def _stack_written(node: fx.Node) -> list[tuple[str, str, str]]:
    stack = node.meta.get("nn_module_stack") or {}
    return [(key, path, kind if isinstance(kind, str) else kind.__name__) for key, (path, kind) in stack.items()]


def _target_name(node: fx.Node) -> str:
    if node.op != "call_function":
        return ""
    if isinstance(node.target, torch._ops.OpOverload):
        return f"torch.ops.{node.target}"
    name = getattr(node.target, "__name__", "")
    if node.target is operator.getitem or getattr(operator, name, None) is node.target:
        return f"_operator.{name}"
    if getattr(torch, name, None) is node.target:
        return f"torch.{name}"
    raise _NotPlainError(f"it calls {node.target}")


def _target(name: str) -> Any:
    return operator.getitem if name == "_operator.getitem" else resolved(name)


def _written(value: Any) -> Any:
    """Return an argument as JSON holds it; what is no number, text or None is written as {kind: ...}."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, list | tuple):
        return {type(value).__name__ if type(value) is tuple else "list": [_written(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": {name: _written(item) for name, item in value.items()}}
    for kind in ("dtype", "device", "layout", "memory_format"):
        if isinstance(value, getattr(torch, kind)):
            return {kind: str(value).removeprefix("torch.")}
    raise _NotPlainError(f"an argument is a {type(value).__name__}")


def _read(value: Any, made: Mapping[str, fx.Node]) -> Any:
    """Return an argument of what JSON holds."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return made[content]
    if kind == "float":
        return float.fromhex(content)
    if kind in ("list", "tuple"):
        items = [_read(item, made) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {name: _read(item, made) for name, item in content.items()}
    return _named(kind, content)


def _named(kind: str, name: str) -> Any:
    """Return one of torch's constants by name."""
    if kind == "device":
        return torch.device(name)
    found = getattr(torch, name) if re.fullmatch(r"\w+", name) else None
    if kind not in ("dtype", "layout", "memory_format") or not isinstance(found, getattr(torch, kind)):
        raise ValueError(f"{name!r} is no {kind}")
    return found
