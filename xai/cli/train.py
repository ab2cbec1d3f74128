"""xai train: make the model robust, watch it learn, and measure what came of it beside its parent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.explain import read_settings
from xai.cli.options import (
    Arch,
    CardFile,
    ClassNames,
    Device,
    Jobs,
    Labels,
    Limit,
    Overwrite,
    RecordInstead,
    Resume,
    Seed,
    TrustModel,
    listed,
    rerun,
    tell_run,
)
from xai.cli.place import check_resume, exit_code, named_by, writing_run
from xai.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai.engine.training.plan import TrainPlan
    from xai.engine.training.trained import Trained

RECIPE = ("epochs", "batch", "lr", "weight_decay", "clip", "patience")
WRITTEN = ("objective", "norm", "eps", *RECIPE, "held", "layers", "head", "attack_plan", "labels", "limit", "classes")


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="What is fine-tuned: a file, a folder holding one, torchvision:NAME, timm:NAME or sample:NAME; or "
            "path/to/net.py:function, a network that has learnt nothing yet."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(help="Labelled images: a folder with a sub-folder a class, a CSV or JSON manifest, .npz, idx."),
    ],
    objective: Annotated[
        str, typer.Option(help="What is minimised: standard, adversarial, trades or certified; see xai methods.")
    ] = "standard",
    norm: Annotated[str, typer.Option(help="How a change is measured: linf, l2 or l1.")] = "linf",
    eps: Annotated[
        str | None, typer.Option(help="Size of the change that the network is to withstand, in input units: 8/255.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How often every image is shown; default 20.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images that make a step; default 128.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate of AdamW; default 0.001.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW; default 0.0001.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest l2 norm of a step's gradient; default 10.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop when nothing got better for so many epochs; default never.")
    ] = None,
    held: Annotated[
        str | None, typer.Option(help="Images that the outcome is measured on; default a fifth of DATA is held out.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Train these layers alone, separated by commas; the others stay frozen.")
    ] = None,
    head: Annotated[
        Path | None, typer.Option(help="File of class names: the last layer is replaced by a new one for them.")
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Draw all weights anew first.")] = False,
    attack_plan: Annotated[
        str | None,
        typer.Option(help="A named plan of attacks that measures the outcome: standard; default is quicker."),
    ] = None,
    log: Annotated[str | None, typer.Option(help="Write every epoch's figures for tensorboard or mlflow, too.")] = None,
    labels: Labels = None,
    limit: Limit = None,
    classes: ClassNames = None,
    jobs: Jobs = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.PARAM=VALUE", help="A parameter of the objective; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default xai-runs/train-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: RecordInstead = False,
) -> int:
    """Train MODEL on DATA, and measure the outcome and its parent on images that were held out."""
    given = dict(locals())
    from xai.data.dataset import open_data
    from xai.engine.training.logs import logging_to
    from xai.engine.training.plan import plan_train
    from xai.engine.training.run import FOLDER
    from xai.engine.training.run import train as run_train
    from xai.models.card import read_labels
    from xai.models.loading import load
    from xai.models.transfer import with_head
    from xai.reports.folder import BEFORE, LOGS
    from xai.runtime import resolve_device

    check_resume(output, resume=resume)
    settings = read_settings(parameters or [])
    computer = resolve_device(device)
    parent = load(model, arch=arch, card=card, labels=classes, device=computer, seed=seed, trusted=trust_model)
    if head is not None:
        parent = with_head(parent, read_labels(head), seed=seed)
    plan = plan_train(
        parent,
        objective,
        norm=norm,
        eps=eps,
        recipe={name: given[name] for name in RECIPE},
        layers=listed(layers) or (),
        attack=attack_plan,
        scratch=scratch,
        parameters=settings,
    )
    images = open_data(data, parent, labels=labels).limited(limit)
    kept_back = None if held is None else open_data(held, parent)
    with writing_run("train", named_by(model), output, overwrite=overwrite, resume=resume, checkpoint=FOLDER) as place:
        with _table(plan) as show, logging_to(log, place.partial / LOGS, plan.described()) as write:

            def tell(row: dict[str, Any]) -> None:
                show(row)
                write(row)

            found = run_train(
                parent,
                images,
                plan,
                held=kept_back,
                runtime=place.runtime(parent.device, seed),
                store=place.store,
                before=place.store_of(BEFORE),
                folder=place.done,
                place=place.folder,
                jobs=jobs,
                tell=tell,
                command=rerun("train", given, (*WRITTEN, "arch", "card"), [model, data], flags=("scratch",)),
            )
        found.publish(place.partial)
    tell_run(found.run, figures=False)  # of the first finding they are those of the validation images
    _tell(found)
    place.show(found.run, as_json=as_json)
    return exit_code(found.run)


def _tell(found: Trained) -> None:
    from xai.reports.html.diff import told

    began: dict[str, int] = {}
    for row in found.epochs:
        for event in row["events"]:
            began.setdefault(event, row["epoch"])
    for event, epoch in began.items():
        say(f"alarm: from epoch {epoch} on: {event}" if epoch < found.epochs[-1]["epoch"] else f"alarm: {event}")
    for outcome in found.comparison.outcomes:
        say(
            f"{outcome.finding}, {outcome.name}: {100 * outcome.before:.1f} % of {outcome.n} before, "
            f"{100 * outcome.after:.1f} % now"
        )
    say(f"beside the parent: {told(found.comparison)}")
    say(f"model: {found.result.model.source}")


@contextmanager
def _table(plan: TrainPlan) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give what prints a row an epoch, as soon as it is done; a silent one where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    told: list[float] = []
    print_row("epoch      loss   clean  attacked  stronger  certified      size   left")

    def tell(row: dict[str, Any]) -> None:
        told.append(row["seconds"])
        left = sum(told) / len(told) * (plan.recipe.epochs - row["epoch"])
        shares = [row[name] for name in ("clean", "attacked", "stronger", "certified")]
        cells = ["–" if share is None else f"{100 * share:.1f} %" for share in shares]
        spaced = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, (6, 8, 8, 9), strict=True))
        mark = "  !" if row["events"] else ""
        print_row(f"{row['epoch']:5d}  {row['loss']:8.4f}  {spaced}  {row['epsilon']:8.4g}  {_time(left)}{mark}")

    yield tell


def print_row(text: str) -> None:
    """Write a line of the table to stderr, its spaces kept."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # figures only: there is nothing to make harmless


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
