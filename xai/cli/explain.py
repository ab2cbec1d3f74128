"""xai explain: what does the model look at?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.options import (
    Arch,
    CardFile,
    ClassNames,
    Device,
    EngineName,
    Labels,
    Limit,
    ModelName,
    Overwrite,
    RecordInstead,
    Resume,
    Seed,
    TrustModel,
    rerun,
    tell_run,
    tell_verdicts,
)
from xai.cli.place import check_resume, exit_code, named_by, writing_run
from xai.cli.terminal import plain, progress, say
from xai.errors import UsageError

if TYPE_CHECKING:
    from xai.models.model import Model
    from xai.reports.run import Run

FAILED = 3
WRITTEN = (
    "methods",
    "measures",
    "target",
    "against",
    "top",
    "masks",
    "layer",
    "detector",
    "reference",
    "reference_labels",
    "label_file",
    "limit",
    "engine",
    "arch",
    "card",
    "labels",
)


def explain(
    model: ModelName,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Pictures or arrays (.npy, .npz, .pt, DICOM), folders of them, or sample:NAME."
        ),
    ],
    methods: Annotated[
        str | None, typer.Option(help="Names, separated by commas, or all; see xai methods. Default: the quick ones.")
    ] = None,
    measures: Annotated[
        str | None, typer.Option(help="What judges the maps: names, all or none. Default: the quick ones.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A class's name or index; default the predicted one.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Explain why the target rather than this class: a name or index; next: the highest other."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="K", help="Explain the K highest outputs of each picture instead.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks (not black on the object) with the pictures' names.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer for the methods that look at one.")] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="Folder that xai ood fit wrote: says of each picture whether it is foreign to the model."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="A data set, as for xai attack: which of its entries are nearest to each picture, and which its "
            "strongest channels answer to most; --set reference.channels=3,17 (neighbours=, exemplars=) for others.",
        ),
    ] = None,
    reference_labels: Annotated[
        Path | None, typer.Option(help="File with a label each, for a reference without.")
    ] = None,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary",
            help="IMAGE is one data set, as for xai attack: tell all images together, what the maps are worth by "
            "class, which are alike, and on what small place the model may lean.",
        ),
    ] = False,
    label_file: Labels = None,
    limit: Limit = None,
    arch: Arch = None,
    card: CardFile = None,
    labels: ClassNames = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    engine: EngineName = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.PARAM=VALUE", help="A method's or measure's parameter; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default xai-runs/explain-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: RecordInstead = False,
) -> int:
    """Explain what MODEL looks at in each IMAGE, and write a report."""
    given = dict(locals())
    from xai.engine.summary.run import check_alone

    single = {"masks": masks, "detector": detector, "reference": reference or reference_labels}
    together = {"label-file": label_file, "limit": limit}
    check_alone(summary=summary, single=single, together={**together, "resume": resume or None})
    return _together(given) if summary else _one_by_one(given)


def _together(given: Mapping[str, Any]) -> int:
    """Tell a data set together."""
    from xai.data.dataset import open_data
    from xai.engine.plan import plan_explain
    from xai.engine.summary.run import check_summary, summarise

    if len(given["images"]) != 1:
        raise UsageError(
            f"--summary: expected one data set, received {len(given['images'])}; put the pictures in a folder"
        )
    check_resume(given["output"], resume=given["resume"])
    settings = read_settings(given["parameters"] or [])
    model = _loaded(given)
    methods, measures = _names(given["methods"]), _names(given["measures"])
    plan = plan_explain(
        model, methods, given["target"], given["layer"], settings, measures, given["top"], given["against"]
    )
    check_summary(model, plan)
    data = open_data(given["images"][0], model, labels=given["label_file"]).limited(given["limit"])
    command = rerun("explain", given, WRITTEN, [given["model"], *given["images"]], flags=["summary"])
    overwrite, resume = given["overwrite"], given["resume"]
    with writing_run("explain", named_by(given["model"]), given["output"], overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: summarise(
                model,
                data,
                plan,
                runtime=place.runtime(model.device, given["seed"]),
                store=place.store,
                folder=place.done,
                command=command,
            )
        )
    tell_run(run, figures=False)
    _tell_trust(run)
    place.show(run, as_json=given["as_json"])
    return exit_code(run)


def _tell_trust(run: Run) -> None:
    """Say what the maps of each method are worth on average."""
    from xai.reports.worth import TRUST

    for finding in run.findings:
        trust = finding.values.get(TRUST)
        if trust is not None and trust.interval is not None:
            low, high = trust.interval
            sure = f"{trust.n} maps (95 % interval {low:.2f} to {high:.2f})"
            say(f"{finding.title}: {TRUST} {trust.value:.2f} of -1 to 1, {sure}")


def _loaded(given: Mapping[str, Any]) -> Model:
    """Open the model."""
    from xai.models.accelerated import accelerated
    from xai.models.loading import load
    from xai.runtime import resolve_device

    model = load(
        given["model"],
        arch=given["arch"],
        card=given["card"],
        labels=given["labels"],
        device=resolve_device(given["device"]),
        seed=given["seed"],
        trusted=given["trust_model"],
    )
    return accelerated(model, given["engine"] or "torch")


def _one_by_one(given: Mapping[str, Any]) -> int:
    """Tell each picture by itself."""
    from xai.data.samples import left_out, list_pictures, read_samples
    from xai.engine.explain import explain as run_explain
    from xai.engine.ood.detector import open_detector
    from xai.engine.plan import plan_explain
    from xai.engine.reference.run import NAME, open_reference
    from xai.reports.artefacts import FolderStore
    from xai.reports.folder import REPORT, free_folder, publish, writing
    from xai.runtime import Runtime

    images, masks, detector = (given[name] for name in ("images", "masks", "detector"))
    settings = read_settings(given["parameters"] or [])
    pictures = list(list_pictures(images))  # a wrong path is told before the model is loaded
    loaded = _loaded(given)
    opened = None if detector is None else open_detector(detector, loaded)
    methods, measures = _names(given["methods"]), _names(given["measures"])
    aim = given["target"], given["layer"]
    sought = settings.pop(NAME, None)
    plan = plan_explain(loaded, methods, *aim, settings, measures, given["top"], given["against"])
    beside = open_reference(loaded, given["reference"], given["reference_labels"], given["layer"], sought)
    for _ in read_samples(pictures, loaded, masks):
        pass  # a damaged picture is told before anything is computed; keeping them all could fill the memory
    command = rerun("explain", given, WRITTEN, [given["model"], *given["images"]])
    folder = given["output"] or free_folder("explain", named_by(given["model"]))
    with writing(folder, overwrite=given["overwrite"]) as partial:
        with progress() as tell:
            runtime = Runtime(device=loaded.device, seed=given["seed"], progress=tell)
            run = run_explain(
                loaded,
                read_samples(pictures, loaded, masks),
                plan,
                detector=opened,
                reference=beside,
                runtime=runtime,
                store=FolderStore(partial),
                command=command,
                notes=left_out(images),
            )
        publish(run, partial)
    _tell(run)
    typer.echo(run.record.model_dump_json(indent=1) if given["as_json"] else str(folder / REPORT))
    statuses = {finding.status for finding in run.findings}
    statuses |= {trust.status for finding in run.findings for trust in finding.trust}
    return FAILED if "failed" in statuses else 0


def _names(listed: str | None) -> list[str] | None:
    return None if listed is None else [name.strip() for name in listed.split(",")]


def read_settings(lines: list[str]) -> dict[str, dict[str, Any]]:
    """Return parameters by method and name of lines METHOD.PARAM=VALUE; values are read as YAML scalars."""
    import yaml

    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        name, equals, text = line.partition("=")
        method, dot, parameter = name.partition(".")
        if not (equals and dot and method and parameter):
            raise UsageError(f"--set {line!r}: expected METHOD.PARAM=VALUE, such as --set occlusion.window=16")
        try:
            found.setdefault(method, {})[parameter] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {line!r}: {text!r} is no value") from error
    return found


def _tell(run: Run) -> None:
    """Say what was assumed, what was found, and what was not."""
    for line in run.record.model.assumed:
        say(f"assumed: {line}")
    for line in run.record.notes:
        say(f"note: {line}")
    for finding in run.findings:
        where = f"{finding.title} on {finding.input or 'the model'}"
        if finding.status != "ok":
            say(f"{finding.status}: {where}: {finding.reason}")
        for note in finding.notes:
            say(f"note: {where}: {note}")
        for trust in finding.trust:
            if trust.status == "failed":
                say(f"failed: {trust.title} of {where}: {trust.reason}")
    tell_verdicts(run)
    if sys.stderr.isatty():
        for record in run.record.inputs:
            first = record.predictions[0]
            sure = "" if first.probability is None else f" ({100 * first.probability:.1f} %)"
            say(f"{plain(record.id)}: {first.name}{sure}")
