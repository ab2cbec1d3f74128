"""Pickles: tensors for everyone, whole networks for those who trust the file's author."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai.errors import RefusedFileError, UsageError
from xai.models.foreign import called, forgetting, importable
from xai.models.formats.base import Contents, StateDict
from xai.models.opaque import opaque
from xai.models.torchvision_import import curing_torchvision

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number of torch.save before 1.6
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
TRUSTED = "code in the file was allowed to run (--trust-model)"
QUANTISED = "open the quantised network live, xai.load(net, ...), or export it to ONNX with its QDQ nodes"
REMEDY = (
    "save net.state_dict() instead and give --arch, or open it with --trust-model if you trust whoever made the file"
)


def unpickled(path: Path, read: Callable[[], Any]) -> Contents:
    """Read a pickle that may run code, because the user trusts it.

    Args:
        path: its folder, and the working folder, may be imported from: a pickle names the modules of its classes.
        read: gives what the file holds.

    Raises:
        RefusedFileError: reading failed, or it holds neither a network nor weights.
    """
    folders = (path.parent, Path.cwd())
    with forgetting(*folders), importable(*folders):
        content = called(lambda: _explained(lambda: curing_torchvision(read), path), f"model {path}")
    found = network(content)
    if found is not None:
        return Contents(found, assumed=(TRUSTED,))
    return Contents(tensors=state_dict(content, path), assumed=(TRUSTED,))


def network(content: Any) -> nn.Module | None:
    """Return the network that an object is, or holds under a usual name of a checkpoint; None if there is none."""
    held = [content[key] for key in WRAPPERS if key in content] if isinstance(content, Mapping) else []
    for each in (content, *held):
        if isinstance(each, nn.DataParallel):
            return network(each.module)
        if isinstance(each, nn.Module):
            return each
    if isinstance(content, Mapping | list | tuple | torch.Tensor):
        return None
    try:
        return opaque(content)
    except UsageError:
        return None


def state_dict(content: Any, path: Path) -> StateDict:
    """Return the tensors by name, at the top or within a checkpoint, without the prefix of DataParallel.

    Raises:
        RefusedFileError: there are none.
    """
    if isinstance(content, Mapping):
        for inner in (content, *(content[key] for key in WRAPPERS if key in content)):
            if isinstance(inner, Mapping) and inner and all(isinstance(v, torch.Tensor) for v in inner.values()):
                _check_plain(inner, path)
                return _without_prefix({str(key): value for key, value in inner.items()})
    keys = ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise RefusedFileError(
        f"model {path}: expected tensors by name, or a checkpoint with 'state_dict'; received {keys}"
    )


def _check_plain(tensors: Mapping[Any, torch.Tensor], path: Path) -> None:
    """Refuse tensors that hold no plain numbers: what would be filled in from them is not what was trained."""
    for name, tensor in tensors.items():
        if kind := _not_plain(tensor):
            raise RefusedFileError(f"model {path}: {str(name)!r} is {kind}")


def _not_plain(tensor: torch.Tensor) -> str:
    """Return what a tensor is that a network cannot be filled from, and what to do; "" for plain numbers."""
    if tensor.is_meta:
        return "on the meta device, which holds no numbers: save the network after its weights were made or loaded"
    if tensor.layout is not torch.strided:
        return "sparse: save it dense (tensor.to_dense())"
    if tensor.is_quantized or type(tensor) not in (torch.Tensor, nn.Parameter):
        return f"a quantised or wrapped tensor ({type(tensor).__name__}, {tensor.dtype}): {QUANTISED}"
    return "complex, and networks of complex numbers are not read" if tensor.is_complex() else ""


def _explained(read: Callable[[], Any], path: Path) -> Any:
    """Read, and say what to do where a class is not found."""
    try:
        return read()
    except ModuleNotFoundError as error:
        raise RefusedFileError(
            f"model {path} needs the module {error.name!r}: run where it can be imported, or put it beside the file"
        ) from error
    except AttributeError as error:
        if "__main__" not in str(error):
            raise
        raise RefusedFileError(
            f"model {path} is of a class that a script or notebook defined ({error}): "
            "define it in a module of its own and save again, or save net.state_dict() and give --arch"
        ) from error


def _without_prefix(tensors: StateDict) -> StateDict:
    for prefix in ("module.", "_orig_mod."):
        if tensors and all(key.startswith(prefix) for key in tensors):
            return _without_prefix({key.removeprefix(prefix): value for key, value in tensors.items()})
    return tensors
