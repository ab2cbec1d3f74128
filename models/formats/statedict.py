"""What torch.save writes: a state dict, alone or within a checkpoint."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xai.errors import RefusedFileError
from xai.models.formats.base import Contents, Format, StateDict
from xai.models.safety import Peek

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number of torch.save before 1.6


class TorchStateDict(Format):
    """A pickle of tensors, opened by torch's weights-only reader, which runs no code."""

    name = "state dict"
    summary = "what torch.save(net.state_dict(), ...) writes (.pt, .pth); needs an architecture"
    suffixes = (".pt", ".pth", ".th", ".ckpt", ".bin")

    def recognises(self, file: Peek) -> bool:
        """Tell from the archive's entries, or the magic number of older files."""
        is_archive = "data.pkl" in file.names and not any(name.startswith("code/") for name in file.names)
        return is_archive or file.head.startswith(_LEGACY)

    def read(self, path: Path, *, trusted: bool = False) -> Contents:  # noqa: ARG002  # whole pickles: not yet
        """Return the tensors by name, taken out of a checkpoint and without the prefix of DataParallel."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f" ({found[1]})" if found else ""
            raise RefusedFileError(
                f"model {path} holds Python objects besides tensors{what}, and opening them could run code; save "
                "net.state_dict() instead and give --arch"
            ) from error
        except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RefusedFileError(f"model {path} is damaged or cut short: {reason}") from error
        return Contents(tensors=_without_prefix(_tensors(content, path)))


def _tensors(content: Any, path: Path) -> StateDict:
    """Return the mapping from names to tensors, at the top or under a usual name of a checkpoint."""
    if isinstance(content, Mapping):
        for inner in (content, *(content[key] for key in WRAPPERS if key in content)):
            if isinstance(inner, Mapping) and inner and all(isinstance(v, torch.Tensor) for v in inner.values()):
                return {str(key): value for key, value in inner.items()}
    keys = ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise RefusedFileError(
        f"model {path}: expected tensors by name, or a checkpoint with 'state_dict'; received {keys}"
    )


def _without_prefix(tensors: StateDict) -> StateDict:
    for prefix in ("module.", "_orig_mod."):
        if tensors and all(key.startswith(prefix) for key in tensors):
            return _without_prefix({key.removeprefix(prefix): value for key, value in tensors.items()})
    return tensors
