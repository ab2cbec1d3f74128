"""TorchScript code, looked at before torch compiles it.

torch.jit.load runs no Python, but TorchScript reads and writes files (torch.from_file, torch.save), some of its parts
run while it is loaded (__setstate__), and others end the process. A name has to stand in the text to be called, so the
text is searched; a reading of our own could differ from torch's.
"""

from __future__ import annotations

import ast
import io
import pickletools
import re
import zipfile
from collections.abc import Iterator

from xai.errors import RefusedFileError

MAX_CODE = 64 * 2**20
MAX_DEPTH = 150  # nested expressions and blocks; what torch writes has about 20

_GAP = r"(?:\s|\\|#[^\n]*\n)*"  # what the language allows between two words
_DOT = _GAP + r"\." + _GAP
_FILES = re.compile(_DOT + r"(from_file|save|load|data_ptr|set_|set_data|resize_\w*)\b")
_NAMESPACES = re.compile(r"(?<![.\w])ops\b(?!" + _DOT + r"(?:aten|prim|quantized|torchvision)" + _DOT + ")")
_PRIMITIVES = re.compile(
    r"(?<![.\w])ops" + _DOT + "prim" + _DOT + r"(?!(?:NumToTensor|RaiseException|abs|data|device|dtype|is_\w+|itemsize|"
    r"layout|max|min|name|nbytes|rangelist|requires_grad|tolist|type|unchecked_cast|unchecked_unwrap_optional)\b)(\w*)"
)
_CLASSES = re.compile(r"\btorch" + _DOT + r"classes\b(?!" + _DOT + r"quantized\b)")
_ATTRIBUTE = re.compile(r'\bgetattr\b(?!\((?:\(|\)|[\w.])*, "(?!(?:from_file|save|load|ops|classes)")[^"\\\n]*"\))')
_REMOTE = re.compile(r"\brpc_(?:sync|async|remote)\b")
_RULES = (_FILES, _NAMESPACES, _PRIMITIVES, _CLASSES, _ATTRIBUTE, _REMOTE)


def check_damage(archive: zipfile.ZipFile, what: str) -> None:
    """Refuse a TorchScript archive that torch's reader could fall over.

    Args:
        archive: as torch.jit.save writes it.
        what: it is, for messages.

    Raises:
        RefusedFileError: an entry does not fit its checksum, or is not what torch writes there.
    """
    damaged = archive.testzip()
    if damaged is not None:
        raise RefusedFileError(f"model {what} is damaged: {damaged[:80]} does not fit its checksum")
    for name, content in _texts(archive, what):
        if name.endswith(".py") and _depth(content) > MAX_DEPTH:
            raise RefusedFileError(f"model {what} holds code that torch.jit.save does not write")
        if not name.endswith(".py"):
            _check_pickle(content, what)


def reaching(archive: zipfile.ZipFile) -> str:
    """Return a call by which a TorchScript archive could do anything besides computing, "" if there is none."""
    for name, content in _texts(archive, ""):
        text = content.decode("latin-1")
        for rule in _RULES if name.endswith(".py") else (_CLASSES,):
            found = rule.search(text)
            if found:
                return " ".join(text[max(0, found.start() - 20) : found.end() + 20].split())
    return ""


def without_remarks(archive: zipfile.ZipFile) -> io.BytesIO:
    """Return a copy of a TorchScript archive that holds what was checked, without the places in someone's source.

    torch looks those up whenever it writes a node down, and trusts them to lie within the source.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as written:
        for entry in archive.infolist():
            if not entry.filename.lower().endswith(".debug_pkl"):
                written.writestr(entry.filename, archive.read(entry))
    copy.seek(0)
    return copy


def _texts(archive: zipfile.ZipFile, what: str) -> Iterator[tuple[str, bytes]]:
    """Yield the entries that torch compiles or unpickles, by name in small letters: torch does not tell them apart."""
    for entry in archive.infolist():
        name = entry.filename.lower()
        if name.endswith((".py", ".pkl")):
            if entry.file_size > MAX_CODE:
                raise RefusedFileError(f"model {what} has {entry.file_size} bytes of code; expected at most {MAX_CODE}")
            yield name, archive.read(entry)


def _depth(text: bytes) -> int:
    """Return how deeply code is nested, as far as Python can tell; what torch writes is Python in its form."""
    try:
        level: list[ast.AST] = [ast.parse(text)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return MAX_DEPTH + 1
    depth = 0
    while level and depth <= MAX_DEPTH:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


def _check_pickle(content: bytes, what: str) -> None:
    """Refuse what is no pickle."""
    try:
        for _ in pickletools.genops(io.BytesIO(content)):
            pass
    except Exception as error:  # pickletools raises whatever its readers meet
        raise RefusedFileError(f"model {what} is damaged: {' '.join(str(error).split())[:200]}") from error
