"""TorchScript programs, brought into the graph with the names of their modules.

torch's converter (torch._export.converter) turns the program into FX nodes but drops the module stack. Every node of a
TorchScript graph still knows its place in the hierarchy, so the nodes get it back here, and exporting them keeps it.
"""

from __future__ import annotations

import io
import re
import warnings
from itertools import accumulate

import torch
from torch import fx, nn
from torch._export.converter import TS2EPConverter, TS2FXGraphConverter, get_block_to_lifted_attrs

from xai.models.program import Program
from xai.models.stack import Place, module_stacks

Hierarchy = tuple[tuple[str, str], ...]


def unscripted(script: torch.jit.ScriptModule, example: torch.Tensor) -> nn.Module:
    """Return a module that runs the script's operators one by one, each with its place in the hierarchy.

    Raises:
        Exception: the converter met an operator that it does not know.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = TS2EPConverter(_copied(script), (example,))
        blocks, names = get_block_to_lifted_attrs(converter.ts_graph)
        program = _WithHierarchy(
            converter.ts_graph,
            converter.name_to_param,
            converter.name_to_buffer,
            blocks,
            converter.name_to_non_tensor_attributes,
            converter.name_to_constant,
            names,
        ).convert()
    _write_module_stacks(program.graph)
    _make_parameters(program, set(converter.name_to_param))
    return Program(program)


def _copied(script: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Return a script with code of its own: the converter writes modules into one another, in place.

    Scripts of one class share their code; what is saved after that would have no modules any more.
    """
    content = io.BytesIO()
    torch.jit.save(script, content)
    content.seek(0)
    copy: torch.jit.ScriptModule = torch.jit.load(content, map_location="cpu")
    return copy


class _WithHierarchy(TS2FXGraphConverter):
    """torch's converter, noting for each FX node the module that its TorchScript node stood in."""

    def convert_node(self, node: torch._C.Node) -> None:
        """Convert one node."""
        before = set(self.fx_graph.nodes)
        super().convert_node(node)
        found = re.findall(r"([^.()]+)\(([^()]*)\)", node.getModuleHierarchy())
        hierarchy = tuple((name, kind) for name, kind in found if name not in ("SELF", "UNKNOWN_INSTANCE"))
        for new in set(self.fx_graph.nodes) - before:
            new.meta["hierarchy"] = hierarchy


def _make_parameters(program: fx.GraphModule, names: set[str]) -> None:
    """Make parameters of the tensors that were parameters in the script; the converter keeps plain tensors."""
    for node in program.graph.nodes:
        name = str(node.target)
        if node.op == "get_attr" and name in names:
            owner, _, leaf = name.rpartition(".")
            module = program.get_submodule(owner)
            tensor = getattr(module, leaf)
            if not isinstance(tensor, nn.Parameter):
                delattr(module, leaf)
                module.register_parameter(leaf, nn.Parameter(tensor.detach(), requires_grad=False))


def _write_module_stacks(graph: fx.Graph) -> None:
    """Write each node's place in the form that torch.export uses."""
    operators = [node for node in graph.nodes if node.op == "call_function"]
    places = [_place(node.meta.get("hierarchy", ())) for node in operators]
    for node, stack in zip(operators, module_stacks(places), strict=True):
        node.meta["nn_module_stack"] = stack


def _place(hierarchy: Hierarchy) -> Place:
    """Return the modules by their full names."""
    names = accumulate((name for name, _ in hierarchy), lambda outer, own: f"{outer}.{own}")
    return tuple((name, kind) for name, (_, kind) in zip(names, hierarchy, strict=True))
