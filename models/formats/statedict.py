"""What torch.save writes: a state dict, alone or within a checkpoint; a whole network only for those who trust it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch

from xai.errors import RefusedFileError
from xai.models.formats.base import Contents, Format
from xai.models.pickled import LEGACY, QUANTISED, REMEDY, state_dict, unpickled
from xai.models.safety import Peek


class TorchStateDict(Format):
    """A pickle of tensors, opened by torch's weights-only reader, which runs no code."""

    name = "state dict"
    summary = "what torch.save(net.state_dict(), ...) writes (.pt, .pth); needs an architecture"
    suffixes = (".pt", ".pth", ".th", ".ckpt", ".bin")

    def recognises(self, file: Peek) -> bool:
        """Tell from the archive's entries, or the magic number of older files."""
        is_archive = "data.pkl" in file.names and not any(name.startswith("code/") for name in file.names)
        return is_archive or file.head.startswith(LEGACY)

    def read(self, path: Path, *, trusted: bool = False) -> Contents:
        """Return the tensors by name; of a trusted file that holds more than tensors, what it holds."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if trusted:
                return unpickled(path, lambda: torch.load(path, map_location="cpu", weights_only=False))
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f" ({found[1]})" if found else ""
            remedy = QUANTISED if what.startswith(" (torchao.") else REMEDY
            raise RefusedFileError(
                f"model {path} holds Python objects besides tensors{what}, and opening them could run code; {remedy}"
            ) from error
        except Exception as error:  # torch's reader raises whatever damaged bytes lead it to, assertions included
            reason = " ".join(str(error).split())[:200]
            raise RefusedFileError(f"model {path} is damaged or cut short: {reason}") from error
        return Contents(tensors=state_dict(content, path))
