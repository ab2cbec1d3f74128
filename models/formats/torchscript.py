"""TorchScript: a program of torch's own."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from xai.errors import RefusedFileError
from xai.models.formats.base import Contents, Format
from xai.models.pickled import TRUSTED
from xai.models.safety import Peek, opened, peek
from xai.models.scripted import check_damage, reaching, without_remarks


class TorchScript(Format):
    """What torch.jit.save writes."""

    name = "TorchScript"
    summary = "what torch.jit.save writes (.pt); brings its own architecture"
    suffixes = (".pt", ".pth", ".ts", ".jit")

    def recognises(self, file: Peek) -> bool:
        """Tell from the archive's entries."""
        return "constants.pkl" in file.names and any(name.startswith("code/") for name in file.names)

    def read(self, path: Path, *, trusted: bool = False) -> Contents:
        """Return the program, its code checked; it is run by torch's own interpreter, which knows no Python."""
        with opened(path, peek(path).size, f"model {path}") as archive:
            check_damage(archive, str(path))
            reach = reaching(archive)
            checked = without_remarks(archive)
        if reach and not trusted:
            raise RefusedFileError(
                f"model {path} is a program that reaches beyond itself ({reach}): TorchScript can read or write files "
                "with it; save the network without it, or open it with --trust-model if you trust whoever made the file"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is; people's files stay
                script: torch.jit.ScriptModule = torch.jit.load(checked, map_location="cpu")
        except Exception as error:  # torch's reader raises whatever damaged bytes lead it to
            reason = " ".join(str(error).split())[:200]
            raise RefusedFileError(
                f"model {path} is damaged, cut short or made for another build of torch: {reason}"
            ) from error
        return Contents(script.eval(), assumed=(TRUSTED,) if reach else ())
