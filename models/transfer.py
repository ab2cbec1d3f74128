"""A trained network for another task: its last layer is exchanged, and what stands before it may be frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from xai.errors import UsageError, XaiError, unknown
from xai.models.architectures import build, with_classes
from xai.models.assembly import Found, assemble, difference, tolerance
from xai.models.card import Card, Input
from xai.models.export import InputUnits, evaluating
from xai.models.model import Model
from xai.models.trainable import copied, is_program
from xai.models.trial import seeded

_Layer = nn.Linear | nn.Conv2d


def with_head(model: Model, classes: Sequence[str], *, seed: int = 0) -> Model:
    """Return a model whose last layer is a fresh one with an output for each class; all before it keeps its weights.

    The last layer is the linear or convolutional one of which alone the outputs come. That is tried: with another
    number of outputs it must change the model's, and with weights of zero the model must answer all inputs alike. The
    model that was given stays as it is.

    Args:
        model: made of torch's modules: a live one, or a file of weights with its architecture.
        classes: two or more names, in the order of the new outputs.
        seed: of the fresh weights.

    Raises:
        UsageError: the names are none, a model has no modules whose last one could be exchanged, or no such last layer.
        AnalysisError: the network cannot be copied.
    """
    names = class_names(classes)
    network = copied(_modules(model))
    head = _head(network, model)
    network = _exchanged(network, head, _fresh(head, len(names), seed))
    spec = _specification(model, network, len(names))
    found = Found(
        network,
        "live module",
        f"{model.source}, another head",
        architecture=spec,
        assumed=[*_of_input(model), f"the head is fresh (seed {seed}): it has learnt nothing of its classes"],
        places=_places(model),
        guessed={name: why for name, why in model.guessed.items() if name.startswith("input.")},
    )
    card = Card(classes=names, output="logits", input=model.input, task=model.card.task, architecture=spec or None)
    return replace(assemble(found, card, model.device), derived=model.derived or model.fingerprint)


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes; raise UsageError unless they are two or more different ones."""
    names = () if isinstance(classes, str) else tuple(classes)
    fine = all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
    if len(names) < 2 or not fine:
        raise UsageError(f"classes: expected two or more different names, received {classes!r}")
    return names


def frozen_but(network: nn.Module, layers: Sequence[str]) -> list[str]:
    """Let only some layers learn; every other parameter is frozen. See `rest_frozen` for figures of normalisation.

    Args:
        network: is changed in place.
        layers: their names, "head" or "features.8"; what lies within them learns, too.

    Returns:
        The names of the parameters that learn.

    Raises:
        UsageError: there is no such layer, it has no weights, or none was named; nothing is frozen then.
    """
    named = dict(network.named_parameters(remove_duplicate=False))
    known = list(dict.fromkeys((*(name for name, _ in network.named_modules() if name), *named)))
    if isinstance(layers, str) or not layers:
        raise UsageError(f"expected a list of one or more layers that are to learn, received {layers!r}")
    learning: set[int] = set()
    for layer in layers:
        if layer not in known:
            raise unknown("layer", layer, known)
        inside = [one for name, one in named.items() if f"{name}.".startswith(f"{layer}.")]
        if not any(one.is_floating_point() for one in inside):
            others = list(dict.fromkeys(name.rpartition(".")[0] or name for name in named))
            raise UsageError(
                f"layer {layer!r} has no weights that could learn; name others, such as {' or '.join(others[-3:])}"
            )
        learning |= {id(one) for one in inside if one.is_floating_point()}
    for one in named.values():
        one.requires_grad_(id(one) in learning)
    return [name for name, one in network.named_parameters() if one.requires_grad]


def rest_frozen(network: nn.Module) -> None:
    """Put normalisations whose weights are frozen into evaluation, so that training leaves their running figures.

    To be called after each network.train(). A normalisation without weights goes with the layer with weights before
    it, the very first ones with the layer after them.
    """
    modules = list(_with_weights(network))
    frozen = next((is_frozen for _, is_frozen in modules if is_frozen is not None), False)
    for module, is_frozen in modules:
        frozen = frozen if is_frozen is None else is_frozen
        if frozen and getattr(module, "running_mean", None) is not None:
            module.eval()


def _with_weights(network: nn.Module) -> Iterator[tuple[nn.Module, bool | None]]:
    """Yield every module and whether its own weights are frozen, None if it has none."""
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        yield module, (not any(one.requires_grad for one in own) if own else None)


def _modules(model: Model) -> nn.Module:
    """Return the module that a model was made of."""
    remedy = "open the network's module, or a file of its weights with its architecture (arch=...)"
    if model.network is None:
        received = "a black box" if model.graph is None else "a graph whose modules are not known"
        raise UsageError(f"expected a network whose last layer can be exchanged, received {received}; {remedy}")
    if is_program(model.network):
        raise UsageError(
            f"expected a network whose last layer can be exchanged, received a program without layers "
            f"({model.format}); {remedy}"
        )
    return model.network


def _head(network: nn.Module, model: Model) -> _Layer:
    """Return the last layer, of which alone the outputs come; the network is left as it was."""
    outputs = len(model.classes)
    likely = [module for module in map(_exchangeable, network.modules()) if module and _width(module) == outputs]
    for head in reversed(likely):
        trial = _fresh(head, outputs + 1, seed=0)
        decides = _decides(_exchanged(network, head, trial), trial, model)
        _exchanged(network, trial, head)
        if decides:
            return head
    raise UsageError(
        f"expected a network whose {outputs} outputs come of one last nn.Linear or nn.Conv2d, received "
        f"{type(network).__name__}: {len(likely)} of its layers have {outputs} outputs, and of none alone they come; "
        "exchange what is its head yourself, and open the module with classes=..."
    )


def _exchangeable(module: nn.Module) -> _Layer | None:
    """Return a layer that can be a head; what is derived of one may compute something else."""
    if isinstance(module, nn.Linear) and type(module) is nn.Linear:
        return module
    return module if isinstance(module, nn.Conv2d) and type(module) is nn.Conv2d and module.groups == 1 else None


def _width(layer: _Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _fresh(head: _Layer, outputs: int, seed: int) -> _Layer:
    """Return a layer like another, on its device and of its type, with seeded weights for so many outputs."""
    has_bias = head.bias is not None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(head, nn.Linear):
            fresh: _Layer = nn.Linear(head.in_features, outputs, bias=has_bias)
        else:
            fresh = nn.Conv2d(
                head.in_channels,
                outputs,
                head.kernel_size,  # type: ignore[arg-type]  # torch declares tuples of any length
                head.stride,  # type: ignore[arg-type]
                head.padding,  # type: ignore[arg-type]
                head.dilation,  # type: ignore[arg-type]
                bias=has_bias,
                padding_mode=head.padding_mode,
            )
    return fresh.to(head.weight.device, head.weight.dtype).train(head.training)


def _exchanged(network: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put a module wherever another one is in a network; return the network, which may be the module itself."""
    for module in network.modules():
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
    return new if network is old else network


def _decides(network: nn.Module, head: _Layer, model: Model) -> bool:
    """Say whether the outputs are as many as a head's, and the same for all inputs if its weights are zeros."""
    try:
        before = _outputs(network, model)
        with torch.no_grad():
            head.weight.zero_()
        one, other = _outputs(network, model)
    except Exception:  # whatever a network raises whose layers no longer fit each other
        return False
    return tuple(before.shape) == (2, _width(head)) and torch.allclose(one, other, equal_nan=True)


def _outputs(network: nn.Module, model: Model) -> torch.Tensor:
    """Return a network's outputs in evaluation for two inputs of seeded noise, where the network is."""
    low, high = model.input.span
    noise = low + (high - low) * torch.rand((2, *model.input.shape), generator=torch.Generator().manual_seed(0))
    own = next(network.parameters()).device
    units = InputUnits(network, model.input).to(own)
    with evaluating(network), torch.no_grad(), torch.random.fork_rng():
        return seeded(units, noise.to(own)).cpu()


def _specification(model: Model, network: nn.Module, count: int) -> str:
    """Return what names a network with another head, "" if nothing does: what is named computes the same."""
    spec = with_classes(model.architecture, count)
    if not spec:
        return ""
    try:
        built = build(spec).network
        built.load_state_dict(network.state_dict())
        found, wanted = (_outputs(one, model) for one in (built, network))
    except (XaiError, RuntimeError):  # the library does not take a number of classes, or its layers are others
        return ""
    return spec if difference(found, wanted) <= tolerance(torch.float32) else ""


def _of_input(model: Model) -> list[str]:
    """Return what was assumed of a model, its classes and the meaning of its outputs aside."""
    gone = " ".join(model.guessed.get(name, "") for name in ("classes", "output"))
    return [line for line in model.assumed if line not in gone]


def _places(model: Model) -> dict[str, str]:
    """Return who declared each field of a model with another head: it itself, or the model before."""
    inputs = (f"input.{name}" for name in Input.model_fields)
    old = {name: f"{model.name}: {name}" for name in inputs if name not in model.guessed}
    return old | {name: f"another head: {name}" for name in ("classes", "output")}
