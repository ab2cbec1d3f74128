"""Names of layers: the modules that an exporter noted on a node, else the node's own name."""

from __future__ import annotations

import ast
import re
from collections import Counter

import onnx

from xai.models.stack import Place

_LONGEST = 4096
_LONGEST_NAME = 512
_DEEPEST = 32  # every module on the way is kept by its full name: without a limit a name fills its own square


def places(nodes: list[onnx.NodeProto]) -> list[Place]:
    """Return for each node the modules around it, or itself as a layer where the file knows of no modules.

    torch's exporters write modules down, the newer one as metadata and the older one in the node's name
    (/layer1/layer1.0/conv1/Conv); what the network itself calls beside them is no layer of its own, as in torch. In
    other files each node is a layer of its own name, or of its operator and number.
    """
    modules = [_from_metadata(node) or _from_name(node) for node in nodes]
    if not any(modules):
        return _by_node(nodes)
    inside = Counter(name for place in modules for name, _ in place)
    return [
        tuple((name, kind or (node.op_type if inside[name] == 1 else "Module")) for name, kind in place)
        for node, place in zip(nodes, modules, strict=True)
    ]


def _by_node(nodes: list[onnx.NodeProto]) -> list[Place]:
    """Return each node as a layer; a name that stands twice counts for the first."""
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    found: list[Place] = []
    for node in nodes:
        numbered = f"{node.op_type}_{counts[node.op_type]}"
        counts[node.op_type] += 1
        name = node.name if node.name and node.name not in taken else numbered
        taken.add(name)
        found.append(((name, node.op_type),))
    return found


def _from_metadata(node: onnx.NodeProto) -> Place:
    """Read what torch.onnx.export(dynamo=True) writes: scopes and classes, the operator last."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes, kinds = (_listed(notes.get(f"pkg.torch.onnx.{key}", "")) for key in ("name_scopes", "class_hierarchy"))
    if len(scopes) < 3 or len(scopes) != len(kinds):
        return ()
    both = list(zip(scopes, kinds, strict=True))[1:-1]
    return tuple((name, kind.rpartition(".")[2]) for name, kind in both if name)


def _listed(text: str) -> list[str]:
    """Return a list of strings written as Python's literal; empty if it is none."""
    if not text.startswith("[") or len(text) > _LONGEST:
        return []
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else []


def _from_name(node: onnx.NodeProto) -> Place:
    """Read what torch.onnx.export(dynamo=False) writes: /layer1/layer1.0/conv1/Conv."""
    if len(node.name) > _LONGEST_NAME or node.name.count("/") > _DEEPEST + 1:
        return ()
    if not re.fullmatch(rf"(/[\w.]+)+/{re.escape(node.op_type)}(_\d+)?", node.name):
        return ()
    full, last = "", ""
    found = []
    for part in node.name.split("/")[1:-1]:
        own = part[len(last) + 1 :] if last and part.startswith(f"{last}.") else part
        full, last = (f"{full}.{own}" if full else own), part
        found.append((full, ""))
    return tuple(found)
