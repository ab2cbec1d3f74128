"""TorchScript programs that reach beyond themselves."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import nn

from tests.hostile.base import Maker, cases, zipped
from tests.networks import Small, seeded


def script(path: Path, old: str = "", new: str = "", name: str | None = None) -> None:
    """Save a TorchScript program, and change its code."""
    torch.jit.save(torch.jit.script(seeded(Small)), path)
    with zipfile.ZipFile(path) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    text = b"class Small("  # where it lies depends on what was scripted before
    code = next(each for each, own in entries.items() if each.endswith(".py") and text in own)
    changed = entries.pop(code).replace(old.encode(), new.encode())
    entries[name or code] = changed
    path.write_bytes(zipped(entries))


class Setting(nn.Module):
    """Runs code while it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.state = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return (1, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        self.state = int(torch.from_file("marker", True, 4).size(0))


def at_loading(path: Path) -> None:
    torch.jit.save(torch.jit.script(Setting()), path)


RETURN = "return (head)"
CODE = [
    'y = torch.from_file("marker", True, 4)',
    'y = ops.aten.from_file("marker", True, 4)',
    'y = getattr(torch, "from_file")("marker", True, 4)',
    'y = getattr(torch, "\\146rom_file")("marker", True, 4)',
    'y = (torch. # a comment\n  from_file)("marker", True, 4)',
    'y = torch. \\\n  from_file("marker", True, 4)',
    'f = torch.from_file\n    y = f("marker", True, 4)',
    'torch.save(x, "marker")',
    'f = torch.save\n    f(x, "marker")',
    'ops.aoti.load("marker")',
    "ops.prim.PythonOp(x)",
    "ops.inductor._reinterpret_tensor(x, [9], [9], 9)",
    "y = __torch__.torch.classes.dist_rpc.WorkerInfo()",
    'y = rpc_sync("marker", x)',
]

BEYOND = "is a program that reaches beyond itself"
DEEP = {
    "parentheses": "(" * 100_000 + "x" + ")" * 100_000,
    "signs": "-" * 100_000 + "x",
    "negations": "not " * 100_000 + "x",
    "powers": "x**" * 5000 + "x",
}


def running(code: str) -> Maker:
    return lambda path: script(path, RETURN, f"{code}\n    {RETURN}")


def in_capitals(path: Path) -> None:
    name = "model/code/__torch__/tests/networks.PY"
    script(path, RETURN, f"y = torch.neg(x)\n    {CODE[0]}\n    {RETURN}", name)


TABLE: dict[str, tuple[Maker, str]] = {
    **{" ".join(code.split()): (running(code), BEYOND) for code in CODE},
    "code that runs while it is loaded": (at_loading, BEYOND),
    "code under a name in capitals": (in_capitals, BEYOND),
    **{
        f"{kind} too deep for torch": (running(f"y = {code}"), "holds code that torch.jit.save does not write")
        for kind, code in DEEP.items()
    },
}
SCRIPTS = cases("TorchScript", TABLE)
