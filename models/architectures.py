"""Architectures by name: torchvision:NAME, timm:NAME, path/to/net.py:function - each with arguments if wanted.

Of a bundled sample it is sample:NAME.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from xai.errors import RefusedFileError, UsageError, unknown
from xai.models.foreign import called, importable
from xai.models.samples import sample_names
from xai.models.torchvision_import import curing_torchvision, torchvision_models

LIBRARIES = ("torchvision", "timm")


@dataclass(frozen=True)
class Architecture:
    """A network without its weights.

    Args:
        network: the module.
        hints: card fields that its library declares for it.
        pretrained: loads the library's published weights into the network; None if it has none.
    """

    network: nn.Module
    hints: dict[str, Any] = field(default_factory=dict)
    pretrained: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Call:
    """A name and its arguments, taken apart from "name(1, key=2)"."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def build(spec: str, seed: int = 0) -> Architecture:
    """Return the network that a specification names.

    Args:
        spec: "torchvision:resnet18", "timm:vit_tiny_patch16_224(num_classes=10)", "sample:shapes",
            "path/to/net.py:make(10)".
        seed: for its first weights.

    Raises:
        UsageError: no such library, name, file or function.
        RefusedFileError: the user's function failed or returned no module.
    """
    library, _, rest = spec.rpartition(":") if ".py:" in spec else spec.partition(":")
    if not rest:
        raise UsageError(f"architecture {spec!r}: expected torchvision:NAME, timm:NAME or path/to/net.py:function")
    call = _parse(rest)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if library == "torchvision":
            return _from_torchvision(call)
        if library == "timm":
            return _from_timm(call)
        if library == "sample":
            return Architecture(sample_network(call.name, *call.args, **call.kwargs))
        if library.endswith(".py"):
            return Architecture(_from_file(Path(library), call))
    raise unknown("source of architectures", library, (*LIBRARIES, "sample", "path/to/net.py"))


def with_classes(spec: str, count: int) -> str:
    """Return the specification of the same network with another number of classes.

    Args:
        spec: of a library or a bundled sample; how a function of a user's counts its classes is not known.
        count: of classes.

    Returns:
        The specification, which `build` may still refuse, "" where none can be told.
    """
    library, _, rest = spec.partition(":")
    if library == "sample":
        return f"sample:{_parse(rest).name}({count})"
    if library not in LIBRARIES:
        return ""
    call = _parse(rest)
    own = {key: value for key, value in call.kwargs.items() if key not in ("weights", "pretrained", "num_classes")}
    named = (f"{key}={value!r}" for key, value in {**own, "num_classes": count}.items())
    return f"{library}:{call.name}({', '.join((*map(repr, call.args), *named))})"


def sample_network(name: str, *args: Any, **kwargs: Any) -> nn.Module:
    """Return the network of a bundled sample, without its weights; (classes=3) asks for another number of them."""
    if name not in sample_names():
        raise unknown("sample", name, sample_names())
    make = importlib.import_module(f"xai.models.samples.{name}").make
    network: nn.Module = called(lambda: make(*args, **kwargs), f"sample:{name}")
    return network


def _parse(text: str) -> _Call:
    """Take "name(arguments)" apart; arguments are literals, nothing is evaluated."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            args = tuple(ast.literal_eval(arg) for arg in node.args)
            return _Call(name, args, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords})
    except (SyntaxError, ValueError) as error:
        if "(" in text:
            raise UsageError(f"architecture {text!r}: expected arguments such as (10, width=2)") from error
    return _Call(text.strip(), (), {})


def _from_torchvision(call: _Call) -> Architecture:
    models = torchvision_models()
    if call.name not in models.list_models(module=models):
        raise unknown("torchvision model", call.name, models.list_models(module=models))
    builder = models.get_model_builder(call.name)
    weights = models.get_model_weights(call.name)
    best = getattr(weights, "DEFAULT", None)
    untrained = call.kwargs.get("weights", "") is None
    kwargs = {key: value for key, value in call.kwargs.items() if key != "weights"}
    network = called(
        lambda: builder(*call.args, weights=None, **_quiet(call.name), **kwargs), f"torchvision:{call.name}"
    )
    if best is None:
        return Architecture(network)

    def load() -> None:
        network.load_state_dict(best.get_state_dict(check_hash=True, weights_only=True))

    return Architecture(network, _torchvision_hints(best), None if untrained else load)


def _quiet(name: str) -> dict[str, bool]:
    """Return the argument that stops two models from warning that their first weights are about to change."""
    return {"init_weights": True} if name in ("googlenet", "inception_v3") else {}


def _torchvision_hints(weights: Any) -> dict[str, Any]:
    preset = weights.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return {
        "classes": tuple(weights.meta["categories"]),
        "input": {
            "shape": (3, crop, crop),
            "mean": tuple(preset.mean),
            "std": tuple(preset.std),
            "resize": "crop",
            "crop_fraction": crop / resize,
            "interpolation": preset.interpolation.value,
        },
    }


def _from_timm(call: _Call) -> Architecture:
    torchvision_models()  # timm imports torchvision
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise UsageError("timm is not installed; pip install 'xai-verify[timm]'") from error
    if not timm.is_model(call.name):
        raise unknown("timm model", call.name, timm.list_models())
    untrained = call.kwargs.get("pretrained", True) is False
    kwargs = {key: value for key, value in call.kwargs.items() if key != "pretrained"}
    network = called(lambda: timm.create_model(call.name, *call.args, **kwargs), f"timm:{call.name}")
    config = network.pretrained_cfg

    def load() -> None:
        state = timm.create_model(call.name, pretrained=True).state_dict()
        network.load_state_dict(state)

    hints = {
        "input": {
            "shape": tuple(config.get("input_size", (3, 224, 224))),
            "mean": tuple(config.get("mean", (0.5,) * 3)),
            "std": tuple(config.get("std", (0.5,) * 3)),
            "resize": "crop",
            "crop_fraction": config.get("crop_pct") or 1.0,
            "interpolation": config.get("interpolation") or "bicubic",
        }
    }
    return Architecture(network, hints, None if untrained else load)


def _from_file(path: Path, call: _Call) -> nn.Module:
    if not path.is_file():
        raise UsageError(f"architecture file {path} does not exist")
    module = called(lambda: curing_torchvision(lambda: _imported(path)), str(path))
    functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    if call.name not in functions:
        raise unknown(f"function in {path}", call.name, functions)
    with importable(path.parent):
        network = called(lambda: vars(module)[call.name](*call.args, **call.kwargs), f"{path}:{call.name}")
    if not isinstance(network, nn.Module):
        raise RefusedFileError(f"{path}:{call.name} returned {type(network).__name__}; expected a torch.nn.Module")
    return network


def _imported(path: Path) -> ModuleType:
    """Run a file that the user named, under a name that shadows nothing."""
    spec = importlib.util.spec_from_file_location(f"_xai_architecture_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with importable(path.parent):
        spec.loader.exec_module(module)
    return module
