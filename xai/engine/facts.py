"""What a run's record keeps of model, inputs and environment."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from xai.data.samples import Sample
from xai.models.model import Model
from xai.reports.artefacts import Store, put
from xai.reports.records import InputRecord, LayerRecord, ModelRecord, Prediction
from xai.version import __version__

PACKAGES = ("torch", "torchvision", "numpy", "pillow")
TOP = 5


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


def model_record(model: Model) -> ModelRecord:
    """Return the model as it was understood."""
    layers = [layer for layer in model.graph.layers.values() if layer.leaf] if model.graph else []
    return ModelRecord(
        name=model.name,
        source=model.source,
        format=model.format,
        architecture=model.architecture,
        digest=model.digest,
        fingerprint=model.fingerprint,
        card=model.card.model_dump(mode="json", exclude_none=True),
        assumed=model.assumed,
        parameters=model.graph.parameters if model.graph else None,
        layers=tuple(LayerRecord(name=x.name, kind=x.kind, shape=x.shape, parameters=x.parameters) for x in layers),
        no_graph=model.no_graph,
    )


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
