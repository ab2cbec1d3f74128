"""A model's network in training: a copy that learns, and the graph of its evaluation over the same tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import fx, nn

from xai.errors import AnalysisError, NotApplicableError
from xai.models.export import InputUnits, evaluating
from xai.models.graph import Graph, attribute
from xai.models.model import Model
from xai.models.onnx.program import OnnxProgram
from xai.models.program import Program

FIXED = (
    "the file holds a program as it runs in evaluation: its weights are trained, figures of batch normalisation stay "
    "as they are, and there is no dropout"
)


@dataclass(frozen=True)
class Trainable:
    """A network in training.

    Args:
        model: whose network it was copied from; the copy's outputs are the model's as long as nothing is learnt.
        network: (batch, ...) in input units -> outputs, in training or in evaluation as its modules are.
        evaluated: the model made of the copy: its graph, where there is one, holds the copy's own tensors.
        notes: what training this source means, in words.
    """

    model: Model
    network: nn.Module
    evaluated: Model
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> nn.Module:
        """The copy of the source's own module, without the normalisation before it."""
        return self.network.network if isinstance(self.network, InputUnits) else self.network

    @property
    def learnt(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: one for name, one in self.own.named_parameters() if one.requires_grad}

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, classes) of inputs in input units, as the network's mode has it."""
        outputs: torch.Tensor = self.network(x)
        return outputs

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Put the network into evaluation, and back."""
        with evaluating(self.network):
            yield


def trainable(model: Model) -> Trainable:
    """Return a copy of a model's network that can be trained; the model stays as it is.

    A source with modules of its own is trained as these are written, dropout and batch normalisation included. What a
    file brings as a program (ONNX, torch.export, TorchScript) is trained as the graph that it became.

    Raises:
        NotApplicableError: only the model's outputs are known, or it has no numbers that could be learnt.
        AnalysisError: the network cannot be copied.
    """
    if model.network is None:
        raise NotApplicableError(f"the model is a black box, and only weights can be trained: {model.no_graph}")
    if model.draws and model.graph is None:
        raise NotApplicableError("the network draws random numbers in evaluation, too: it gives no answer to train")
    found = _program(model) if is_program(model.network) else _modules(model)
    if not found.learnt:
        raise NotApplicableError("the network has no weights that could be trained")
    return found


def is_program(network: nn.Module) -> bool:
    """Say whether a network is what a file brings as a program (ONNX, torch.export, TorchScript), without layers."""
    return isinstance(network, Program | OnnxProgram | torch.jit.ScriptModule)


def _program(model: Model) -> Trainable:
    network = copied(model.needed_graph().module)
    assert isinstance(network, fx.GraphModule)
    figures = _figures(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.is_floating_point() and name not in figures)
    return Trainable(model, network, _around(model, network, Graph(network, model.device)), (FIXED,))


def _figures(network: fx.GraphModule) -> set[str]:
    """Return the names of tensors that batch normalisation treats inputs by: some files keep them as weights."""
    found: set[str] = set()
    for node in network.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema else []
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        figures = (given.get(name) for name in ("running_mean", "running_var"))
        found |= {str(one.target) for one in figures if isinstance(one, fx.Node)}
    return found


def _modules(model: Model) -> Trainable:
    assert model.network is not None
    network = InputUnits(copied(model.network), model.input).to(model.device)
    for parameter in network.parameters():
        if parameter.ndim == 4:  # kernels: their convolutions run faster so on a CPU, see export
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    graph = None if model.graph is None else _sharing(model.graph, network)
    return Trainable(model, network, _around(model, network, graph))


def _around(model: Model, network: nn.Module, graph: Graph | None) -> Model:
    """Return the model with a network in evaluation instead of its own."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        with evaluating(network):
            outputs: torch.Tensor = network(x)
        return outputs

    return replace(model, graph=graph, forward=forward, network=None, original=None)


def _sharing(graph: Graph, network: nn.Module) -> Graph | None:
    """Return a graph that reads a network's own tensors, None if it holds numbers that the network learns unseen."""
    own = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers(remove_duplicate=False))
    wanted = {str(node.target) for node in graph.module.graph.nodes if node.op == "get_attr"}
    learnt = {name for name in wanted if isinstance(attribute(graph.module, name), nn.Parameter)}
    if not learnt <= own.keys():
        return None
    tensors = {name: own.get(name, attribute(graph.module, name)) for name in wanted}
    return Graph(fx.GraphModule(_tree(tensors), graph.module.graph), graph.device)


def _tree(tensors: dict[str, torch.Tensor]) -> nn.Module:
    """Return modules that hold tensors under their names."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        owner = root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(leaf, tensor)
        else:
            owner.register_buffer(leaf, tensor)
    return root


def copied(network: nn.Module) -> nn.Module:
    """Return a copy of a network with tensors of its own; raise AnalysisError if it cannot be copied."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever the user's own modules raise
        reason = " ".join(str(error).split())[:200]
        raise AnalysisError(
            f"the network cannot be copied, and what was given stays as it is: {type(error).__name__}: {reason}"
        ) from error
