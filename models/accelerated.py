"""Another engine for where no gradient is needed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from xai.errors import AnalysisError, UsageError
from xai.models.model import Engine, Model
from xai.models.writing import write

ENGINES = ("torch", "openvino")


def accelerated(model: Model, engine: str) -> Model:
    """Return a model whose outputs without gradients are an engine's; whatever needs gradients stays with torch.

    Args:
        model: the model.
        engine: "torch", or "openvino" (on processors of the x86 kind mostly 1.3 to 2 times as fast).

    Raises:
        UsageError: there is no such engine, it is not installed, or the model is on a GPU.
        NotApplicableError: the model is a black box.
        AnalysisError: the network cannot be written for the engine, or it gives other outputs there.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}; expected one of {', '.join(ENGINES)}")
    if engine == "torch":
        return model
    if model.device.type != "cpu":
        raise UsageError(f"OpenVINO runs on the CPU and the model is on {model.device}; leave the engine out")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        _check_installed()
        write(model, path)
        found = replace(model, engine=_openvino(path))
    if not found.is_accelerated:
        raise AnalysisError("OpenVINO gives other outputs than the network; leave the engine out")
    return found


def _check_installed() -> None:
    try:
        import openvino  # noqa: F401  # whether it can be imported is asked
    except ImportError as error:
        raise UsageError("OpenVINO is not installed; pip install 'xai-verify[openvino]'") from error


def _openvino(path: Path) -> Engine:
    """Return OpenVINO's engine for an ONNX file, in float32 and with as many threads as torch has."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(compiled(x.contiguous().numpy())[0].copy())

    return Engine(f"OpenVINO {openvino.__version__.split('-')[0]}", forward)
