"""Whatever a user has - a file, a folder, a name, a live module - becomes a Model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from xai.errors import RefusedFileError, UsageError
from xai.models.architectures import LIBRARIES, Architecture, build, sample_network
from xai.models.assembly import Found, assemble
from xai.models.cache import digest_of
from xai.models.card import Card, one_line, read_card, read_labels
from xai.models.example import Example, example_input
from xai.models.features import OnFeatures
from xai.models.formats.base import StateDict, formats, read_file
from xai.models.model import Model
from xai.models.opaque import Opaque, opaque
from xai.models.opening import opening
from xai.models.safety import sha256
from xai.models.samples import sample_folder
from xai.text import storable

log = logging.getLogger(__name__)

Source = str | Path | nn.Module | Callable[[torch.Tensor], Any] | object  # an estimator is an object


@opening()
def load(
    source: Source,
    *,
    arch: str | None = None,
    card: str | Path | None = None,
    labels: str | Path | None = None,
    device: torch.device | None = None,
    seed: int = 0,
    trusted: bool = False,
    example: Example | None = None,
    **declared: Any,
) -> Model:
    """Open a model.

    Args:
        source: a live module; a file, or a folder that holds one; "torchvision:NAME", "timm:NAME" or "sample:NAME";
            "path/to/net.py:function" for a network that has learnt nothing yet.
        arch: for files that hold weights only: "torchvision:NAME", "timm:NAME" or "path/to/net.py:function", each with
            arguments if wanted: "torchvision:resnet18(num_classes=10)".
        card: a YAML file that says what the model file does not (default: <stem>.yaml or model.yaml beside it).
        labels: a file with the classes' names.
        device: where it is to run; default the CPU.
        seed: for weights that no file gives.
        trusted: whether code in the model file may run.
        example: an input of a live network, or a batch of them, in input units: its shape is declared by it.
        **declared: fields of the card or of its input, before those of the file: classes, output, name, shape, mean,
            std, range, layout, resize, crop_fraction, interpolation.

    Raises:
        UsageError: a path or name does not exist, or something is missing.
        RefusedFileError: a file is unsafe, unreadable, or not what it says.
    """
    own = {} if card is None else read_card(Path(card))
    found = (
        _named(str(source), arch or own.get("architecture"), seed, trusted)
        if isinstance(source, str | Path)
        else _live(source)
    )
    if example is not None:
        declared = {**_told(example, found.network, declared, own), **declared}
    if labels is not None:
        declared["classes"] = read_labels(Path(labels))
    who = found.architecture.partition(":")[0] or "the file"
    beside = f"card {card if own else found.card_file}"
    layers = (beside, own or found.card), ("declared", _as_card(declared))
    if found.readings:
        _read_axes(found, _inner(*(layer for _, layer in layers)), _places(*layers))
    fields, hinted = _laid_over(found.hints, *(layer for _, layer in layers))
    hinted = [name for name in hinted if f"input.{name}" not in found.guessed]
    if hinted:
        found.assumed.append(f"{', '.join(hinted)} of the input: as {who} declares them for this network")
        found.guessed |= {f"input.{name}": f"as {who} declares it for this network" for name in hinted}
    found.places = _places((who, found.hints), *layers)
    if labels is not None:
        found.places["classes"] = f"label file {labels}"
    complete = _card(fields, found)
    assert complete.input is not None
    if complete.input.is_picture and not {"mean", "std"} & complete.input.model_fields_set:
        low, high = complete.input.span
        found.assumed.append(
            f"mean and std of the input are not declared: pixels in [{low:g}, {high:g}] go into the network as they are"
        )
    return assemble(found, complete, device or torch.device("cpu"))


def _told(example: Example, network: nn.Module, declared: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """Return what an example tells of the input; raise UsageError if the user also said otherwise."""
    told = example_input(example, network, declared)
    said = declared.get("shape", (card.get("input") or {}).get("shape"))
    if isinstance(said, list | tuple) and tuple(said) != told["shape"]:
        raise UsageError(
            f"the example is an input of shape {told['shape']}, and the shape {tuple(said)} was declared: give one of "
            "them"
        )
    return told


def _live(source: object) -> Found:
    if isinstance(source, nn.Module):
        return Found(source, "live module", type(source).__name__)
    if isinstance(source, OnFeatures):
        box = Opaque(source, f"{source.name} shows its scores only", last=str(source.method))
        return Found(
            box,
            "live object",
            storable(source.name),
            card=source.card,
            card_file=f"of {source.model.name}",
            assumed=source.assumed,
        )
    classes = getattr(source, "classes_", None)
    hints = {} if classes is None else {"classes": tuple(str(name) for name in classes)}
    return Found(
        opaque(source), "live object", storable(getattr(source, "__name__", type(source).__name__)), hints=hints
    )


def _named(source: str, arch: str | None, seed: int, trusted: bool) -> Found:
    """Open what a string names."""
    if arch is not None and source.startswith(("sample:", "torchvision:", "timm:")):
        raise UsageError(f"an architecture was given ({arch}), and {source} brings its own")
    if source.startswith("sample:"):
        return _sample(source)
    if source.startswith(("torchvision:", "timm:")) or ".py:" in source:
        return _from_library(source, seed)
    return _from_file(_model_file(Path(source)), source, arch, seed, trusted)


def _sample(source: str) -> Found:
    name = source.removeprefix("sample:")
    network = sample_network(name)
    folder = sample_folder(name)
    path = folder / "model.safetensors"
    _fill(network, read_file(path)[0].tensors, source)
    card = folder / "model.yaml"
    return Found(
        network, "safetensors", source, sha256(path), card=read_card(card), card_file=str(card), architecture=source
    )


def _from_library(source: str, seed: int) -> Found:
    architecture = build(source, seed)
    assumed = []
    if architecture.pretrained is None:
        assumed.append(f"weights are random (seed {seed}): this network has learnt nothing")
    else:
        try:
            architecture.pretrained()
        except Exception as error:
            raise UsageError(
                f"the published weights of {source} cannot be fetched ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:120]}); download them where there is a network and give the file with "
                f"--arch '{source}', or ask for random weights: '{_untrained(source)}'"
            ) from error
    hints = {**_hints(architecture), "name": source}
    return Found(
        architecture.network,
        "library",
        source,
        hints=hints,
        assumed=assumed,
        architecture=source,
        identity=_identity(source, architecture.network),
    )


def _identity(spec: str, network: nn.Module) -> str:
    """Return what determines a network of a library: its version and every tensor; "" for a user's own code."""
    library = spec.partition(":")[0]
    if library not in LIBRARIES:
        return ""
    return f"{spec} {version(library)} {digest_of(network.state_dict())}"


def _untrained(source: str) -> str:
    word = "weights=None" if source.startswith("torchvision:") else "pretrained=False"
    return f"{source[:-1]}, {word})" if source.endswith(")") else f"{source}({word})"


def _from_file(path: Path, source: str, arch: str | None, seed: int, trusted: bool) -> Found:
    digest = sha256(path)
    content, format_name = read_file(path, trusted)
    if sha256(path) != digest:
        raise RefusedFileError(f"model {path} was written to while it was read; try again when it is whole")
    beside = _card_beside(path)
    card = read_card(beside) if beside else {}
    spec = arch or card.get("architecture")
    if content.network is not None:
        if arch is not None:
            raise UsageError(f"an architecture was given ({arch}), and a {format_name} file brings its own")
        return Found(
            content.network,
            format_name,
            source,
            digest,
            card=card,
            card_file=str(beside or ""),
            hints={"name": storable(path.stem), **content.hints},
            assumed=list(content.assumed),
            reference=content.reference,
            readings=content.readings,
            identity=f"{format_name} {digest}" if content.whole and not trusted else "",
        )
    if spec is None:
        first = ", ".join(list(content.tensors)[:3])
        raise UsageError(
            f"model {path} holds weights only ({len(content.tensors)} tensors: {first}, ...); name its architecture "
            "with --arch torchvision:NAME, timm:NAME or path/to/net.py:function"
        )
    architecture = build(spec, seed)
    widened = _fill(architecture.network, content.tensors, spec)
    hints = {**_hints(architecture), "name": storable(path.stem)}
    return Found(
        architecture.network,
        format_name,
        source,
        digest,
        architecture=spec,
        card=card,
        card_file=str(beside or ""),
        hints=hints,
        assumed=[*content.assumed, *widened],
        identity=_identity(spec, architecture.network),
    )


def _hints(architecture: Architecture) -> dict[str, Any]:
    """Return what the library declares; its class names only if the last tensor counts as many."""
    hints = dict(architecture.hints)
    sizes = [tensor.shape[0] for tensor in architecture.network.parameters()]
    if "classes" in hints and sizes[-1] != len(hints["classes"]):
        del hints["classes"]
    return hints


def _model_file(path: Path) -> Path:
    """Return the file itself, or the one model in a folder."""
    if not path.exists():
        raise UsageError(f"model {path} does not exist")
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"model {path} is neither a file nor a folder")
    files = _model_files(path)
    if len(files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "none"
        raise UsageError(f"folder {path}: expected one model file in it, found {len(files)} ({names}); name the file")
    return files[0]


def _card_beside(path: Path) -> Path | None:
    own, shared = path.with_suffix(".yaml"), path.parent / "model.yaml"
    card = own if own.is_file() else shared if shared.is_file() and len(_model_files(path.parent)) == 1 else None
    if card is not None and card.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise RefusedFileError(f"card {card} is a link out of the model's folder; name it with --card if it is meant")
    return card


def _model_files(folder: Path) -> list[Path]:
    known = {suffix for format_class in formats.all().values() for suffix in format_class.suffixes}
    return [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix.lower() in known]


def _fill(network: nn.Module, content: StateDict, spec: str) -> list[str]:
    """Put weights into an architecture, and say where they differ; return what was assumed in doing so."""
    own = network.state_dict()
    # torch before 0.4.1 did not count batches; the count plays no part in evaluation.
    missing = [key for key in own if key not in content and not key.endswith("num_batches_tracked")]
    surplus = [key for key in content if key not in own]
    shapes = [
        f"{key} is {tuple(own[key].shape)} in the architecture and {tuple(content[key].shape)} in the file"
        for key in own
        if key in content and own[key].shape != content[key].shape
    ]
    if missing or surplus or shapes:
        parts = [f"missing in the file: {_few(missing)}"] if missing else []
        parts += [f"not in the architecture: {_few(surplus)}"] if surplus else []
        parts += [_few(shapes)] if shapes else []
        raise RefusedFileError(
            f"the weights do not fit {spec}: {'; '.join(parts)}; try another --arch or other arguments"
        )
    network.load_state_dict(dict(content), strict=False)
    kinds = {(content[key].dtype, own[key].dtype) for key in own if key in content}
    return [f"weights stored as {old} run as {new}".replace("torch.", "") for old, new in kinds if old != new]


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _as_card(declared: dict[str, Any]) -> dict[str, Any]:
    """Put the fields of an input where a card has them."""
    inner = {key: value for key, value in declared.items() if key not in Card.model_fields}
    outer = {key: value for key, value in declared.items() if key in Card.model_fields}
    return {**outer, "input": inner} if inner else outer


def _laid_over(*layers: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return fields of which later layers go first, and the input's fields that only the first layer has."""
    inputs = [layer.get("input") or {} for layer in layers]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    joined = _inner(*layers)
    hinted = [name for name in inputs[0] if not any(name in part for part in inputs[1:])]
    return ({**merged, "input": joined} if joined else merged), hinted


def _inner(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return fields of the input of which later layers go first."""
    joined: dict[str, Any] = {}
    for layer in layers:
        joined |= layer.get("input") or {}
    return joined


def _read_axes(found: Found, given: dict[str, Any], places: dict[str, str]) -> None:
    """Choose how the three axes of a file's input are read, so that what is declared of it holds; note a guess.

    Raises:
        RefusedFileError: the declared shape names the axes in another order than the file has them.
    """
    likeliest = found.readings[0]
    shape, layout = given.get("shape"), given.get("layout")
    named = [reading for reading in found.readings if layout in (None, reading.layout)] or [likeliest]
    chosen = next((reading for reading in named if shape is None or reading.fits(shape)), named[0])
    if layout is None and chosen is not likeliest and not (likeliest.guess and likeliest.layout == "channels first"):
        raise RefusedFileError(
            f"{places['input.shape']} {list(given['shape'])}: the file has its input {likeliest.layout}, so the shape "
            f"(channels, rows, columns) is {list(likeliest.shape)}; declare the layout, too, if it is another"
        )
    read: dict[str, Any] = {"layout": chosen.layout} if chosen.layout == "channels last" else {}
    if None not in chosen.shape:
        read["shape"] = chosen.shape
    found.hints = {**found.hints, "input": {**found.hints.get("input", {}), **read}}
    if chosen.guess and shape is None and layout is None:
        found.assumed.append(chosen.guess)
        found.guessed |= {f"input.{name}": chosen.guess for name in ("shape", "layout")}


def _places(*layers: tuple[str, dict[str, Any]]) -> dict[str, str]:
    """Return for every field the last who declared it."""
    found: dict[str, str] = {}
    for who, layer in layers:
        names = [*layer, *(f"input.{name}" for name in layer.get("input") or {})]
        found |= {name: f"{who}: {name}" for name in names}
    return found


def _card(fields: dict[str, Any], found: Found) -> Card:
    source = found.source
    try:
        card = Card.model_validate(fields)
    except ValidationError as error:
        line = one_line(error)
        place = found.place(".".join(re.findall(r"\w+", line)[:2]))
        if place.startswith("card "):
            raise RefusedFileError(f"{place} does not fit {source}: {line}") from error
        raise UsageError(f"what was declared of {source} does not fit: {line}") from error
    if card.input is None:
        raise UsageError(
            f"the input of {source} is not known; write beside the model a card <stem>.yaml (or give --card) with "
            "'input: {shape: [3, 224, 224], mean: [...], std: [...]}', or shape=... in Python"
        )
    return card
