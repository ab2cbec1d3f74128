"""What a run's record keeps of model, inputs and environment."""

from __future__ import annotations

import platform
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from weakref import WeakKeyDictionary

import torch

from xai.data.samples import Sample
from xai.errors import AnalysisError
from xai.models.blocks import blocks
from xai.models.cost import multiply_adds
from xai.models.graph import Graph
from xai.models.model import Model
from xai.reports.artefacts import Store, put
from xai.reports.records import BlockRecord, InputRecord, LayerRecord, ModelRecord, Prediction
from xai.runtime import Runtime
from xai.version import __version__

PACKAGES = ("torch", "torchvision", "numpy", "pillow")
TOP = 5
_TOLD: WeakKeyDictionary[Graph, dict[str, Any]] = WeakKeyDictionary()  # they cost a third of a small network's pass


@cache
def versions() -> dict[str, str]:
    """Return the versions of what computed."""
    found = {"xai": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def settings_of(runtime: Runtime, model: Model) -> dict[str, str | int]:
    """Return what the record keeps of how a run was made."""
    engine = {"engine": model.engine.name} if model.engine and model.is_accelerated else {}
    return {**runtime.settings(), **engine}


def model_record(model: Model) -> ModelRecord:
    """Return the model as it was understood."""
    record = ModelRecord(
        name=model.name,
        source=model.source,
        format=model.format,
        architecture=model.architecture,
        digest=model.digest,
        fingerprint=model.fingerprint,
        card=model.card.model_dump(mode="json", exclude_none=True),
        assumed=model.assumed,
        parameters=None,
        layers=(),
        no_graph=model.no_graph,
        guessed=dict(model.guessed),
    )
    return record if model.graph is None else record.model_copy(update=_graph_facts(model.graph))


def _graph_facts(graph: Graph) -> dict[str, Any]:
    """Return what a graph tells of the model; it does not change."""
    if graph not in _TOLD:
        _TOLD[graph] = _told(graph)
    return _TOLD[graph]


def _told(graph: Graph) -> dict[str, Any]:
    costs = multiply_adds(graph)
    return {
        "parameters": graph.parameters,
        "multiply_adds": sum(costs.values()),
        "weight_bytes": graph.bytes_of_weights,
        "activation_bytes": graph.bytes_per_input,
        "layers": tuple(
            LayerRecord(
                name=layer.name,
                kind=layer.kind,
                shape=layer.shape,
                parameters=layer.parameters,
                multiply_adds=sum(costs.get(node.name, 0) for node in graph.members[layer.name]),
            )
            for layer in graph.layers.values()
            if layer.leaf
        ),
        "blocks": tuple(BlockRecord(**asdict(block)) for block in blocks(graph)),
    }


def outputs_of(model: Model, sample: Sample) -> torch.Tensor:
    """Return the model's outputs (classes,) for one sample; raise AnalysisError if they are no numbers."""
    with torch.no_grad():
        outputs = model(sample.input[None].to(model.device))[0]
    if not torch.isfinite(outputs).all():
        raise AnalysisError(f"the model's outputs for {sample.source} hold NaN or infinite values")
    return outputs


def input_record(sample: Sample, outputs: torch.Tensor, model: Model, store: Store) -> InputRecord:
    """Return one input with its highest outputs.

    Args:
        sample: the input.
        outputs: (classes,) for it.
        model: that gave them.
        store: keeps the prepared tensor.
    """
    return InputRecord(
        id=sample.id,
        source=sample.source,
        digest=sample.digest,
        treatments=sample.treatments,
        range=model.input.span,
        prepared=put(store, sample.input.numpy()),
        predictions=predictions(outputs, model),
    )


def predictions(outputs: torch.Tensor, model: Model) -> tuple[Prediction, ...]:
    """Return the highest of outputs (classes,), with probabilities where the outputs' meaning gives them."""
    outputs = outputs.double().cpu()
    if len(outputs) == 1:
        return (_one(outputs, model),)
    shares = {"logits": outputs.softmax(0), "probabilities": outputs, "values": None}[model.card.output]
    return tuple(
        Prediction(
            index=index,
            name=model.classes[index],
            output=float(outputs[index]),
            probability=None if shares is None else float(shares[index]),
        )
        for index in outputs.topk(min(TOP, len(outputs))).indices.tolist()
    )


def _one(outputs: torch.Tensor, model: Model) -> Prediction:
    """Return what a single output says: for its class, or against it with the probability of that."""
    said, output = model.answer(outputs), float(outputs[0])
    share = {"logits": float(outputs.sigmoid()[0]), "probabilities": output, "values": None}[model.card.output]
    if share is not None and said != model.classes[0]:
        share = 1 - share
    return Prediction(index=0, name=said, output=output, probability=share)
