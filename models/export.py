"""From a torch module to the graph: exported in evaluation mode, in input units, with tensors of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from xai.errors import RefusedFileError
from xai.models import cache
from xai.models.card import Input
from xai.models.graph import EXAMPLES, Graph, attribute
from xai.models.layout import shape_of
from xai.models.quiet import quiet
from xai.models.script import unscripted

aten = torch.ops.aten

MAX_BATCH = 1 << 16
_CONVOLUTIONS = (aten.conv2d.default, aten.conv2d.padding, aten.convolution.default)
_QUANTISED = ("quantized_decomposed.quantize", "quantized.", "torchao.quantize", "torchao.choose", "aten._int_mm")


class UnfitError(Exception):
    """Why a graph that torch.export made is not used."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode; every submodule's own mode is restored, also after an error."""
    modes = [(module, module.training) for module in network.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class InputUnits(nn.Module):
    """A network behind its normalisation, so that it takes input units; inputs and outputs are float32 whatever it is.

    Args:
        network: takes normalised inputs.
        spec: what the inputs in input units are.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, spec: Input) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        mean, std, after = spec.mean, spec.std, [1] * (len(spec.shape) - 1)
        self.dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        self.identity = set(mean) == {0.0} and set(std) == {1.0}
        self.register_buffer("mean", torch.tensor(mean).view(-1, *after), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, *after), persistent=False)

    def around(self, network: nn.Module) -> InputUnits:
        """Return another network behind the same normalisation."""
        return InputUnits(network, self.spec)

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the network returns for x in input units."""
        normalised = x if self.identity else (x - self.mean) / self.std
        if self.spec.layout == "channels last":
            normalised = normalised.permute(0, 2, 3, 1)
        if self.dtype == torch.float32:
            return self.network(normalised)
        outputs = self.network(normalised.to(self.dtype))
        return outputs.float() if isinstance(outputs, torch.Tensor) else outputs


def trace(network: InputUnits, device: torch.device, identity: str = "") -> Graph:
    """Export a network to a graph that takes a batch in input units; the network itself stays as it was.

    Args:
        network: behind its normalisation.
        device: where the graph runs.
        identity: what determines the network, weights included; with it the graph is kept for the next time.

    Raises:
        RefusedFileError: the network does not return one tensor (batch, outputs).
        Exception: whatever torch.export or the network itself raised: it cannot be exported.
    """
    name = cache.key(identity, network.spec.model_dump_json()) if identity else ""
    module = cache.fetch(name) if name else None
    if module is None:
        module = _exported(network)
        if name:
            cache.keep(name, module)
    return Graph(_placed(module, device), device)


def _exported(network: InputUnits) -> fx.GraphModule:
    """Return the functional graph with tensors of its own."""
    example = torch.full((EXAMPLES, *network.spec.shape), 0.5)
    source = network.network
    if isinstance(source, torch.jit.ScriptModule):
        with evaluating(network):
            network = network.around(unscripted(source, example))
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with evaluating(network), torch.random.fork_rng(), torch.enable_grad(), quiet():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)
        module = program.run_decompositions({}).module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    _check_straight(module)
    if isinstance(source, torch.jit.ScriptModule):
        _drop_assertions(module)  # they hold for the example; the script itself is what the graph is compared with
    _drop_mutations(module)
    _reshape(module)
    _own_tensors(module)
    if any(_has_unknown_size(node) for node in module.graph.nodes):
        _Measured(module).run(example)
    _check_output(module)
    return module


def _has_unknown_size(node: fx.Node) -> bool:
    """Say whether a size of a node's value follows from numbers of the network: only a run tells it."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    sizes = [size for each in values if isinstance(each, torch.Tensor) for size in each.shape]
    return any(isinstance(size, torch.SymInt) and size.node.hint is None for size in sizes)


class _Measured(fx.Interpreter):
    """Runs a graph and notes the shapes of what its nodes give."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if _has_unknown_size(n):
            n.meta["val"] = pytree.tree_map_only(torch.Tensor, lambda each: each.to("meta"), value)
        return value


def _check_straight(module: fx.GraphModule) -> None:
    """Refuse a program with programs inside it: nothing that reads the graph would see what these do."""
    if any(isinstance(part, fx.GraphModule) for part in module.modules() if part is not module):
        raise UnfitError("torch.export cannot follow this network: its data decide which operators run")
    if any(str(node.target).startswith(_QUANTISED) for node in module.graph.nodes):
        raise UnfitError(
            "the network is quantised: it rounds its values to whole numbers, and rounding has no gradient"
        )


def _drop_assertions(module: fx.GraphModule) -> None:
    """Drop what torch.export asserts of sizes that it does not know."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            module.graph.erase_node(node)


def _drop_mutations(module: fx.GraphModule) -> None:
    """Drop what the source does besides answering: writing into its input or its buffers."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten.copy_.default and node.args[0].op in ("placeholder", "get_attr"):
            node.replace_all_uses_with(node.args[1])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _reshape(module: fx.GraphModule) -> None:
    """Take any order in memory where a view would take the example's only: kernels choose their own (_placed)."""
    for node in module.graph.nodes:
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
    module.recompile()


def _own_tensors(module: fx.GraphModule) -> None:
    """Copy the tensors, so that training on in the source changes nothing here."""
    copies: dict[int, torch.Tensor] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                copy = copies.setdefault(id(parameter), nn.Parameter(parameter.detach().clone(), requires_grad=False))
                part._parameters[name] = copy  # type: ignore[assignment]  # the copy of a Parameter is one
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())


def _check_output(module: fx.GraphModule) -> None:
    """Refuse a network whose result is not one tensor (batch, outputs)."""
    result = module.graph.output_node().args[0]
    if isinstance(result, list | tuple) and len(result) == 1:
        result = result[0]
        module.graph.output_node().args = (result,)
        module.graph._codegen = fx.graph.CodeGen()
        module.recompile()
    if not isinstance(result, fx.Node):
        raise RefusedFileError(
            f"the network returns {len(result) if isinstance(result, list | tuple) else 'no'} values; expected one "
            "tensor (batch, classes): wrap it in a function that returns the one to be explained"
        )
    shape = shape_of(result)
    if not result.meta["val"].is_floating_point():
        raise RefusedFileError("the network returns whole numbers; expected scores (batch, classes) before any argmax")
    if len(shape) != 2:
        raise RefusedFileError(
            f"the network returns a tensor (batch, {', '.join(map(str, shape[1:]))}); expected (batch, classes)"
        )


def _placed(module: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """Move tensors, and the places where the graph makes new ones, to a device.

    On a CPU kernels are laid out channels last: values that follow are so, too, and pooling them is several times
    quicker.
    """
    if device.type == "cpu":
        _lay_kernels_out(module)
    else:
        for node in module.graph.nodes:
            if isinstance(node.kwargs.get("device"), torch.device):
                node.kwargs = {**node.kwargs, "device": device}
        module.recompile()
    return module.to(device)


def _lay_kernels_out(module: fx.GraphModule) -> None:
    if any(node.target is aten.as_strided.default for node in module.graph.nodes):  # it reads the order in memory
        return
    for node in module.graph.nodes:
        if node.target in _CONVOLUTIONS and node.args[1].op == "get_attr":
            kernel = attribute(module, str(node.args[1].target))
            if kernel.ndim == 4:
                kernel.data = kernel.data.to(memory_format=torch.channels_last)
