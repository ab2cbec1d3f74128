"""A look inside a model: what was understood of it, and what its layers answer to a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xai.data.samples import Sample
from xai.engine.analyses import analyses
from xai.engine.attempt import attempt
from xai.engine.facts import input_record, model_record, outputs_of
from xai.engine.started import Started
from xai.errors import AnalysisError, NotApplicableError
from xai.models.graph import Layer
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind
from xai.reports.artefacts import MemoryStore, Store, put
from xai.reports.records import Finding, InputRecord, ModelRecord, TargetRecord, Value
from xai.reports.run import Run
from xai.runtime import Runtime

METHOD = FAMILY = "activation"
TITLE = "Activation"
MEANING = (
    "What the layer's channels answer to this input, and how the target's output would follow small changes of them."
)
LIMITS = (
    "A strong channel need not matter for the answer, and a gradient holds for small changes only. It is not said what "
    "a channel stands for, and one that is silent here may speak for another input."
)
SOURCE = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks"


@dataclass(frozen=True)
class Looked:
    """What a layer holds for one input.

    Args:
        layer: that was looked at.
        activation: (channels, rows, columns) where the layer has rows and columns, else (units,).
        gradient: of the target's output, of the same shape.
        notes: what a reader must know of it.
    """

    layer: Layer
    activation: np.ndarray
    gradient: np.ndarray
    notes: tuple[str, ...] = ()


def inspect(
    model: Model,
    samples: Iterable[Sample] = (),
    *,
    layer: str | None = None,
    target: str | int | None = None,
    runtime: Runtime | None = None,
    store: Store | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Say what was understood of a model; for each sample, show a layer's channels and their gradient.

    Args:
        model: to be looked into.
        samples: inputs, in order; none are needed.
        layer: whose channels are shown; default the last one with rows and columns.
        target: a class's name or index, whose output is differentiated; default the predicted one.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        UsageError: there is no such layer or target.
    """
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("inspect", command)
    if layer is not None and model.graph is not None:
        model.layer(layer)
    if target is not None:
        model.target(target)
    inputs: list[InputRecord] = []
    findings: list[Finding] = []
    for sample in samples:
        runtime.progress(f"{TITLE} for {sample.id}", len(inputs), 0)
        with runtime.seeded(METHOD, sample.digest):
            outputs = outputs_of(model, sample)
            inputs.append(input_record(sample, outputs, model, store))
            wanted = model.target(int(outputs.argmax()) if target is None else target)
            findings.append(_finding(model, sample, layer, wanted, store))
    return started.finished(
        _understood(model),
        runtime.settings(),
        store,
        inputs=inputs,
        findings=findings,
        notes=notes,
    )


def _understood(model: Model) -> ModelRecord:
    """Return the model's record, with the layer that maps are made of and what can be asked of the model."""
    try:
        found = {"spatial_layer": model.spatial_layer.name}
    except NotApplicableError as error:
        found = {"no_spatial_layer": str(error)}
    return model_record(model).model_copy(update={**found, "analyses": analyses(model)})


def _finding(model: Model, sample: Sample, layer: str | None, target: Target, store: Store) -> Finding:
    """Return what a layer holds for one sample, or why that cannot be had."""
    tried = attempt(f"{METHOD} of {sample.id}", lambda: look(model, sample.input.to(model.device), layer, target))
    finding = Finding(
        id=f"{METHOD}/{sample.id}/{target.index}",
        family=FAMILY,
        method=METHOD,
        title=TITLE,
        description=MEANING,
        limits=LIMITS,
        source=SOURCE,
        kind=Kind.EXACT.value,
        input=sample.id,
        target=TargetRecord(index=target.index, name=target.name),
        status=tried.status,
        reason=tried.reason,
        parameters={"layer": layer},
        seconds=tried.seconds,
    )
    if tried.answer is None:
        return finding
    looked = tried.answer
    return finding.model_copy(
        update={
            "parameters": {"layer": looked.layer.name, "kind": looked.layer.kind},
            "values": _values(looked),
            "notes": looked.notes,
            "artefacts": {
                "activation": put(store, looked.activation),
                "gradient": put(store, looked.gradient),
            },
        }
    )


def look(model: Model, x: torch.Tensor, name: str | None, target: Target) -> Looked:
    """Return a layer's channels for one input x, and the gradient of a target's output with respect to them.

    Raises:
        NotApplicableError: the model is a black box, or no layer was named and none has rows and columns.
        AnalysisError: the activation or the gradient holds NaN or infinite values.
    """
    layer = model.layer(name) if name is not None else model.spatial_layer
    tap = model.tap(x[None], layer)
    (gradient,) = torch.autograd.grad(target(tap.outputs).sum(), tap.value, allow_unused=True)
    reached = torch.zeros_like(tap.value) if gradient is None else gradient
    arrays = [_by_channel(value, layer) for value in (tap.value, reached)]
    if not all(np.isfinite(array).all() for array in arrays):
        raise AnalysisError(f"layer {layer.name} or its gradient holds NaN or infinite values")
    return Looked(layer, arrays[0], arrays[1], tuple(_notes(layer, target, arrays[1])))


def _by_channel(value: torch.Tensor, layer: Layer) -> np.ndarray:
    """Return a layer's value for one input as (channels, rows, columns); as (units,) where there are no places."""
    plain = value.detach().to("cpu", torch.float32)
    grid = layer.by_channel(plain)
    found = grid[0] if layer.is_feature_map and grid[0, 0].numel() > 1 else plain.flatten()
    array: np.ndarray = found.contiguous().numpy()
    return array


def _notes(layer: Layer, target: Target, gradient: np.ndarray) -> Iterable[str]:
    count = layer.layout.prefix if layer.layout is not None and layer.is_feature_map else 0
    if count:
        yield f"Left out before the grid: {count} class or register token{'s' * (count > 1)}."
    if not gradient.any():
        yield f"The gradient is zero everywhere: no small change of this layer moves the output for {target.name}."


def _values(looked: Looked) -> dict[str, Value]:
    sizes = np.abs(looked.activation).reshape(len(looked.activation), -1)
    maps = looked.activation.ndim == 3
    noun, unit = ("channels", "channel") if maps else ("units", "unit")
    return {
        noun: Value(value=len(sizes)),
        "dead": Value(
            value=int((sizes.max(axis=1) == 0).sum()), unit=f"{noun} that are zero everywhere for this input"
        ),
        "strongest": Value(value=int(sizes.mean(axis=1).argmax()), unit=f"{unit} of the highest mean size"),
        "lowest": Value(value=float(looked.activation.min()), unit=f"activation of {looked.layer.name}"),
        "highest": Value(value=float(looked.activation.max()), unit=f"activation of {looked.layer.name}"),
        "steepest": Value(
            value=float(np.abs(looked.gradient).max()), unit=f"output per activation of {looked.layer.name}"
        ),
    }
