"""Every epoch's figures for the boards that people watch trainings on; each needs its own package."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xai.errors import UsageError, unknown
from xai.robustness.training.trainer import Tell, nobody
from xai.robustness.training.watch import Row


@contextmanager
def logging_to(board: str | None, folder: Path, parameters: dict[str, Any]) -> Iterator[Tell]:
    """Give what writes an epoch's row to a board.

    Args:
        board: "tensorboard", "mlflow", or None for none.
        folder: where it writes; mlflow only where MLFLOW_TRACKING_URI names no server.
        parameters: of the training, for boards that keep them.

    Raises:
        UsageError: there is no such board, or its package is not installed.
    """
    if board is None:
        yield nobody
        return
    if board not in _BOARDS:
        raise unknown("board", board, _BOARDS)
    try:
        writing = _BOARDS[board]
        with writing(folder, parameters) as write:
            yield lambda row: write(row["epoch"], _figures(row))
    except ImportError as error:
        raise UsageError(f"{board} is not installed ({error.name}); pip install 'xai-verify[{board}]'") from error


Write = Callable[[int, dict[str, float]], None]


@contextmanager
def _tensorboard(folder: Path, parameters: dict[str, Any]) -> Iterator[Write]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_text("parameters", "\n\n".join(f"{name}: {value}" for name, value in parameters.items()))

        def write(epoch: int, figures: dict[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, epoch)
            writer.flush()

        yield write


@contextmanager
def _mlflow(folder: Path, parameters: dict[str, Any]) -> Iterator[Write]:
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        folder.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{folder.resolve()}/mlflow.db")
    mlflow.set_experiment("xai train")
    with mlflow.start_run():
        mlflow.log_params(parameters)

        def write(epoch: int, figures: dict[str, float]) -> None:
            mlflow.log_metrics(figures, step=epoch)

        yield write


_BOARDS = {"tensorboard": _tensorboard, "mlflow": _mlflow}


def _figures(row: Row) -> dict[str, float]:
    """Return what of a row is a number."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name != "epoch"}
