"""A Model as a file for other tools: ONNX or torch.export, in input units, checked before it is there."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import yaml
from torch import fx

from xai.errors import AnalysisError, UsageError
from xai.models.assembly import difference, tolerance
from xai.models.formats.base import read_file
from xai.models.graph import EXAMPLES, ROOT
from xai.models.model import Model
from xai.models.onnx.reading import read
from xai.models.onnx.runtime import Runner
from xai.models.program import Program
from xai.models.quiet import quiet

OPSET = 20
_CHECKS = 3


def write(model: Model, path: Path, *, overwrite: bool = False) -> float:
    """Write a model as .onnx or .pt2, and its card beside it; the file takes input units and any batch.

    Args:
        model: what to write; mean and std are part of its graph.
        path: where to; the suffix says which format.
        overwrite: whether a file that is there is replaced.

    Returns:
        The largest difference of the file's outputs from the model's on random inputs, as a share of the largest
        output; the file was opened by onnxruntime, or anew, for that.

    Raises:
        UsageError: another suffix, or a file is there already.
        NotApplicableError: the model is a black box.
        AnalysisError: ONNX has no operator for one of the model's, or the file does not give what the model gives;
            nothing is left then.
    """
    writable(path, overwrite=overwrite)
    card, text = path.with_suffix(".yaml"), _card(model)
    if card.exists() and not overwrite and card.read_bytes() != text.encode():
        raise UsageError(f"{card} exists and says something else; choose another name, or replace it with --overwrite")
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()), _silent("onnxscript"):
            run = _WRITERS[path.suffix.lower()](_program(model), partial)
        worst = _difference(model, run)
        os.replace(partial, path)  # noqa: PTH105  # atomic, as Path.replace
    finally:
        partial.unlink(missing_ok=True)
    card.write_text(text, encoding="utf-8")
    return worst


def writable(path: Path, *, overwrite: bool = False) -> None:
    """Raise UsageError if no model can be written to that path."""
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"{path}: expected a name that ends in {' or '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: folder {path.parent} does not exist")
    if path.exists() and (path.is_dir() or not overwrite):
        raise UsageError(f"{path} exists; choose another name, or replace it with --overwrite")


def _program(model: Model) -> torch.export.ExportedProgram:
    """Return the graph as torch.export has it, with the source's names."""
    graph = model.needed_graph().module
    example = torch.full((EXAMPLES, *model.input.shape), 0.5, device=model.device)
    named = _with_source_names(graph)
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(Program(named), (example,), dynamic_shapes=({0: batch},), strict=False)


def _with_source_names(graph: fx.GraphModule) -> fx.GraphModule:
    """Return a copy whose modules are named as in the source, without the wrapper that it was traced in."""
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph.graph, {}))
    for old, new in zip(graph.graph.nodes, copied.nodes, strict=True):
        stack: Mapping[str, tuple[str, object]] = old.meta.get("nn_module_stack") or {}
        inside = {key: value for key, value in stack.items() if value[0].startswith(f"{ROOT}.")}
        new.meta["nn_module_stack"] = {"": ("", "Network")} | {
            key.removeprefix(f"{ROOT}."): (path.removeprefix(f"{ROOT}."), kind) for key, (path, kind) in inside.items()
        }
    return fx.GraphModule(graph, copied)


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    try:
        written = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    except Exception as error:  # its exporter raises whatever its translations do
        raise AnalysisError(
            f"the model cannot be written as ONNX: {_untranslated(error)}; write it as .pt2, which takes any operator"
        ) from error
    assert written is not None
    written.save(path)
    return Runner(read(path))


def _untranslated(error: BaseException) -> str:
    """Say which operator torch's exporter could not translate; what it says itself is pages, with colours."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in reversed(causes):
        if named := re.search(r"target=torch\.ops\.([\w.]+)", str(cause)):
            return f"torch's exporter cannot translate the operator {named[1]}"
    last = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(causes[-1])).split())
    return f"torch's exporter failed ({type(causes[-1]).__name__}: {last[:200]})"


def _write_pt2(program: torch.export.ExportedProgram, path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    torch.export.save(program, path)
    network = read_file(path)[0].network
    assert network is not None
    return network


_WRITERS = {".onnx": _write_onnx, ".pt2": _write_pt2}


def _difference(model: Model, run: Callable[[torch.Tensor], torch.Tensor]) -> float:
    low, high = model.input.span
    noise = torch.rand((_CHECKS, *model.input.shape), generator=torch.Generator().manual_seed(0))
    x = low + (high - low) * noise
    with torch.no_grad():
        wanted, found = model(x.to(model.device)).cpu(), run(x)
    worst = difference(found, wanted)
    dtypes = [each.dtype for each in model.needed_graph().module.parameters() if each.is_floating_point()]
    if not worst <= tolerance(dtypes[0] if dtypes else torch.float32):
        raise AnalysisError(
            f"the written file differs from the model by {worst:.2g} of its largest output: it is not kept"
        )
    return worst


def _card(model: Model) -> str:
    """Return a card for the file: the normalisation is inside it now."""
    inside = {"mean", "std", "layout"}
    fields = model.card.model_dump(mode="json", exclude_none=True, exclude={"architecture": True, "input": inside})
    fields["input"] |= {"mean": [0.0], "std": [1.0]}
    if model.input.range is None:
        fields["input"]["range"] = None
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library's log below errors."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
