"""safetensors: named tensors and nothing else."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from xai.errors import RefusedFileError
from xai.models.formats.base import Contents, Format
from xai.models.safety import Peek


class Safetensors(Format):
    """A header of JSON, its length before it, then the tensors."""

    name = "safetensors"
    summary = "named tensors (.safetensors); needs an architecture"
    suffixes = (".safetensors",)

    def recognises(self, file: Peek) -> bool:
        """Tell from the header's length and its first sign."""
        return file.head[8:9] == b"{" and 2 <= int.from_bytes(file.head[:8], "little") <= 100 * 2**20

    def read(self, path: Path, *, trusted: bool = False) -> Contents:  # noqa: ARG002  # nothing in it can run
        """Return the tensors by name."""
        try:
            return Contents(tensors=load_file(path))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise RefusedFileError(f"model {path} is damaged or cut short: {' '.join(str(error).split())}") from error
