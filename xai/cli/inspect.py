"""xai inspect: what was understood of a model, and what its layers answer to a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.options import Arch, CardFile, ClassNames, Device, ModelName, Overwrite, Seed, TrustModel, rerun
from xai.cli.terminal import plain, progress, say
from xai.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from xai.models.model import Model
    from xai.reports.records import ModelRecord
    from xai.reports.run import Run

FAILED = 3
WRITTEN = ("layer", "target", "arch", "card", "labels")
WIDTH = 120  # of the tables where stdout is no terminal


def _print_schema(wanted: bool) -> None:
    if wanted:
        from xai.models.schema import text

        typer.echo(text(), nl=False)
        raise typer.Exit


def inspect(
    model: ModelName,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE...", help="Pictures whose activations are shown; a report is written."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer whose channels are shown; default the last with rows and columns.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A class's name or index; default the predicted one.")] = None,
    write_card: Annotated[
        bool,
        typer.Option(
            "--write-card",
            help="Write a first card, its guesses marked, beside the model's file; or to the path behind MODEL.",
        ),
    ] = False,
    card_schema: Annotated[
        bool,
        typer.Option("--card-schema", callback=_print_schema, is_eager=True, help="Print the card's JSON Schema."),
    ] = False,
    arch: Arch = None,
    card: CardFile = None,
    labels: ClassNames = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the run; with IMAGE by default xai-runs/inspect-<model>-<n>."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record instead of the summary.")] = False,
) -> int:
    """Say what was understood of MODEL and what can be asked of it; show a layer's activations for each IMAGE."""
    given = dict(locals())
    from xai.data.samples import list_pictures, read_samples
    from xai.models.draft import card_place
    from xai.models.draft import write_card as write
    from xai.models.loading import load
    from xai.reports.folder import REPORT, free_folder
    from xai.runtime import resolve_device

    place = card_place(model, _card_path(images or [])) if write_card else None
    pictures = [] if write_card else list(list_pictures(images or []))
    if not pictures and (layer is not None or target is not None):
        raise UsageError("--layer and --target are about the activations for a picture: name an IMAGE too")
    place_of_work = resolve_device(device)
    loaded = load(model, arch=arch, card=card, labels=labels, device=place_of_work, seed=seed, trusted=trust_model)
    for _ in read_samples(pictures, loaded) if pictures else ():
        pass  # a damaged picture is told before anything is computed
    if place is not None:
        write(loaded, place)
        say(f"card {place}: {_guesses(loaded)}")
    stem = Path(model.rpartition(":")[2]).stem
    folder = output or (free_folder("inspect", stem) if pictures else None)
    run = _run(loaded, pictures, given, folder)
    _tell(run)
    if as_json:
        typer.echo(run.record.model_dump_json(indent=1))
    else:
        if not pictures:
            _summarise(run.record.model)
        if folder is not None:
            typer.echo(str(folder / REPORT))
    return FAILED if any(finding.status == "failed" for finding in run.findings) else 0


def _card_path(paths: list[str]) -> str | None:
    """Return where the card is to be written, if that was said."""
    if len(paths) > 1:
        raise UsageError(f"--write-card takes one path after MODEL, received {len(paths)}: {', '.join(paths)}")
    return paths[0] if paths else None


def _guesses(model: Model) -> str:
    if not model.guessed:
        return "nothing in it is guessed"
    return f"check what is guessed in it: {', '.join(model.guessed)}"


def _run(model: Model, pictures: list[Any], given: dict[str, Any], folder: Path | None) -> Run:
    """Inspect, and write the run to a folder if there is one."""
    from contextlib import nullcontext

    from xai.data.samples import left_out, read_samples
    from xai.engine.inspect import inspect as run_inspect
    from xai.reports.artefacts import FolderStore
    from xai.reports.folder import publish, writing
    from xai.runtime import Runtime

    with writing(folder, overwrite=given["overwrite"]) if folder else nullcontext() as partial:
        with progress() as tell:
            run = run_inspect(
                model,
                read_samples(pictures, model) if pictures else (),
                layer=given["layer"],
                target=given["target"],
                runtime=Runtime(device=model.device, seed=given["seed"], progress=tell),
                store=FolderStore(partial) if partial else None,
                command=rerun("inspect", given, WRITTEN, [given["model"], *(given["images"] if pictures else [])]),
                notes=left_out(given["images"] or []) if pictures else (),
            )
        if partial:
            publish(run, partial)
    return run


def _tell(run: Run) -> None:
    """Say what was assumed, and what was not found."""
    for line in run.record.model.assumed if run.record.inputs else ():  # the summary says it else
        say(f"assumed: {line}")
    for line in run.record.notes:
        say(f"note: {line}")
    for finding in run.findings:
        where = f"{finding.title} for {finding.input}"
        if finding.status != "ok":
            say(f"{finding.status}: {where}: {finding.reason}")
        for note in finding.notes:
            say(f"note: {where}: {note}")


def _summarise(model: ModelRecord) -> None:
    """Print what was understood as tables."""
    from rich.console import Console

    console = Console(file=sys.stdout, markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, markup=False, highlight=False, width=WIDTH)
    _table(console, f"{model.name}", _facts(model))
    if model.layers:
        _layers(console, model)
    _table(console, "What can be asked of it", _askable(model))


def _askable(model: ModelRecord) -> list[tuple[str, str]]:
    """Return a row for what can run of each family, and one for each reason why some cannot."""
    rows = []
    for family in dict.fromkeys(one.family for one in model.analyses):
        of_it = [one for one in model.analyses if one.family == family]
        for reason in dict.fromkeys(one.reason for one in of_it):
            names = ", ".join(one.method for one in of_it if one.reason == reason)
            rows.append((family, f"cannot run: {names} ({reason})" if reason else f"can run: {names}"))
    return rows


def _facts(model: ModelRecord) -> list[tuple[str, str]]:
    from xai.reports.words import amount, memory

    card, given = model.card, model.card["input"]
    span = given.get("range")
    found = [
        ("source", f"{model.source} ({model.format})"),
        ("architecture", model.architecture if model.architecture != model.source else ""),
        ("fingerprint", model.fingerprint),
        (
            "input",
            f"{_shape(given['shape'])}, {f'values in [{span[0]:g}, {span[1]:g}]' if span else 'of no declared range'}",
        ),
        ("normalised by", f"mean {_numbers(given['mean'])}, std {_numbers(given['std'])}"),
        ("pictures", f"{given['resize']}, {given['interpolation']}" if len(given["shape"]) == 3 else ""),
        ("outputs", f"{len(card['classes'])} {card['output']}: {_few(card['classes'])}"),
        ("parameters", amount(model.parameters)),
        ("multiply-adds", f"{amount(model.multiply_adds)} an input, of matrix products and convolutions"),
        ("memory", f"weights {memory(model.weight_bytes)}, activations {memory(model.activation_bytes)} an input"),
        ("maps are of layer", model.spatial_layer or f"none: {model.no_spatial_layer}"),
        ("black box", model.no_graph),
        *(("assumed", line) for line in model.assumed),
    ]
    unknown = ("parameters", "multiply-adds", "memory") if model.parameters is None else ()
    return [(name, text) for name, text in found if text and name not in unknown]


def _layers(console: Console, model: ModelRecord) -> None:
    from rich.table import Table

    from xai.reports.words import amount

    table = Table(
        "layer", "kind", "output", box=None, pad_edge=False, title=f"{len(model.layers)} layers", title_justify="left"
    )
    for name in ("parameters", "multiply-adds"):
        table.add_column(name, justify="right")
    for layer in model.layers:
        table.add_row(
            plain(layer.name),
            plain(layer.kind),
            _shape(layer.shape),
            amount(layer.parameters),
            amount(layer.multiply_adds),
        )
    parameters, multiply_adds = model.elsewhere
    if parameters or multiply_adds:
        table.add_row("in none of these", "", "", amount(parameters), amount(multiply_adds))
    console.print(table)
    console.print()


def _table(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table("", "", box=None, pad_edge=False, show_header=False, title=plain(title), title_justify="left")
    table.columns[1].overflow = "fold"
    for name, text in rows:
        table.add_row(name, plain(text))
    console.print(table)
    console.print()


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _few(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
