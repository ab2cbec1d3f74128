"""The folder of a run that can be gone on with, from its beginning to what is told at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xai.cli.terminal import progress, say
from xai.errors import StoppedError, UsageError

if TYPE_CHECKING:
    from xai.reports.artefacts import Store
    from xai.reports.run import Run
    from xai.runtime import Progress

FAILED = 3


@dataclass(frozen=True)
class Place:
    """Where a run is written while it works.

    Args:
        folder: where it will stand.
        partial: where it is written.
        done: what is done so far.
        tell: is told of progress.
    """

    folder: Path
    partial: Path
    done: Path
    tell: Progress

    @property
    def store(self) -> Store:
        """What keeps the arrays."""
        return self.store_of()

    def store_of(self, *inside: str) -> Store:
        """Return what keeps the arrays of a run in a folder inside."""
        from xai.reports.artefacts import FolderStore

        return FolderStore(self.partial.joinpath(*inside))

    def runtime(self, device: Any, seed: int) -> Any:
        """Return how the run computes."""
        from xai.runtime import Runtime

        return Runtime(device=device, seed=seed, progress=self.tell)

    def publish(self, work: Callable[[], Run]) -> Run:
        """Do the work, and write its record and renderings."""
        from xai.reports.folder import publish

        run = work()
        publish(run, self.partial)
        return run

    def show(self, run: Run, *, as_json: bool) -> None:
        """Print the report's path, or the record."""
        from xai.reports.folder import REPORT

        typer.echo(run.record.model_dump_json(indent=1) if as_json else str(self.folder / REPORT))


@contextmanager
def writing_run(
    verb: str, name: str, output: Path | None, *, overwrite: bool, resume: bool, checkpoint: str | None = None
) -> Iterator[Place]:
    """Give the place of a run, which stands at the end or can be gone on with after an interruption.

    Args:
        verb: that was called.
        name: what the run is of; a folder that was not named is called after both.
        output: where the run shall stand.
        overwrite: whether an earlier run there is replaced.
        resume: whether to go on with the run that was killed there.
        checkpoint: the folder inside that keeps what is done; default the shards' own.

    Raises:
        UsageError: the place is taken, or cannot be written to.
        StoppedError: it was interrupted, and what is done is kept.
    """
    from xai.engine.shards import FOLDER
    from xai.reports.folder import free_folder, writing

    done = checkpoint or FOLDER
    check_resume(output, resume=resume)
    folder = output or free_folder(verb, name)
    unfinished = folder.with_name(f"{folder.name}.partial")
    if resume and not unfinished.is_dir():
        say(f"note: {folder} has no killed run to go on with: this one begins")
    try:
        with writing(folder, overwrite=overwrite, resume=resume, checkpoint=done) as partial, progress() as tell:
            yield Place(folder, partial, partial / done, tell)
    except KeyboardInterrupt:
        if not unfinished.exists():
            raise
        raise StoppedError(f"interrupted: what is done is kept; go on with --resume -o {folder}") from None


def check_resume(output: Path | None, *, resume: bool) -> None:
    """Refuse to go on with a run whose folder is not named; asked first where a model takes long to load."""
    if resume and output is None:
        raise UsageError("--resume was given without -o; name the folder whose run was killed")


def named_by(model: str) -> str:
    """Return what a run of a model is called: torchvision:resnet18 and nets/resnet18.pt are resnet18."""
    return Path(model.rpartition(":")[2]).stem


def exit_code(run: Run) -> int:
    """Return 3 if a finding failed, else 0."""
    return FAILED if any(finding.status == "failed" for finding in run.findings) else 0
