"""xai ood: does it know what it does not know?"""

from __future__ import annotations

from collections.abc import Sequence
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
    ModelName,
    Overwrite,
    RecordInstead,
    Resume,
    Seed,
    TrustModel,
    listed,
    rerun,
    tell_run,
    tell_verdicts,
)
from xai.cli.place import Place, check_resume, exit_code, named_by, writing_run
from xai.cli.terminal import say
from xai.errors import UsageError

if TYPE_CHECKING:
    from xai.reports.run import Run

VIOLATED = 1
COMMON = ("labels", "classes", "limit", "arch", "card")
TOLD = 8  # images whose verdict is told on stderr

Data = Annotated[
    str,
    typer.Argument(
        help="A picture, a folder (with a sub-folder a class), a CSV or JSON manifest, .npz, idx files, sample:NAME."
    ),
]
DetectorFolder = Annotated[Path, typer.Argument(help="The folder that xai ood fit -o wrote.")]
Named = Annotated[
    list[str] | None,
    typer.Option("--ood", metavar="NAME=DATA", help="Known outliers and what they are called; may be repeated."),
]

app = typer.Typer(
    name="ood",
    help="Does it know what it does not know? Detectors of images that are unlike those a network was made for.",
    no_args_is_help=True,
)


@app.command("fit")
def fit(
    model: ModelName,
    data: Data,
    holdout: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the images that is held back for the thresholds.")
    ] = 0.2,
    keep: Annotated[
        float | None, typer.Option(help="Share of images like those held back that thresholds keep; default 0.95.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Detectors, separated by commas, or all; see xai methods. Default: those marked there."),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers that are looked at, separated by commas; default the graph's.")
    ] = None,
    ood: Named = None,
    fpr: Annotated[
        float | None, typer.Option(help="Share of the known outliers that thresholds let pass, instead of --keep.")
    ] = None,
    best_split: Annotated[
        bool, typer.Option("--best-split", help="Thresholds that split known outliers off best, instead of --keep.")
    ] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="Let known outliers choose the members of the combined verdict.")
    ] = False,
    gallery: Annotated[
        int, typer.Option(min=0, help="Remember so many held-back images, small, to show beside new ones.")
    ] = 200,
    labels: Labels = None,
    classes: ClassNames = None,
    limit: Limit = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.PARAM=VALUE", help="A parameter of a detector; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The detector's folder; default xai-runs/ood-fit-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    jobs: Jobs = None,
    as_json: RecordInstead = False,
) -> int:
    """Fit detectors to MODEL on DATA, images that it was made for, and say first whether it is right on them."""
    given = dict(locals())
    from xai.data.dataset import open_data
    from xai.engine.ood.fit import fit as run_fit
    from xai.engine.ood.plan import plan_fit

    check_resume(output, resume=resume)
    settings, named = read_settings(parameters or []), _named(ood, "--ood")
    loaded = _loaded(given)
    plan = plan_fit(
        loaded,
        listed(methods),
        layers=listed(layers),
        holdout=holdout,
        keep=keep,
        rate=fpr,
        split=best_split,
        choose=choose,
        outliers=bool(named),
        gallery=gallery,
        parameters=settings,
    )
    images = open_data(data, loaded, labels=labels).limited(limit)
    foreign = {name: open_data(one, loaded, foreign=True).limited(limit) for name, one in named.items()}
    names = ("holdout", "keep", "methods", "layers", "fpr", "gallery", *COMMON)
    command = rerun("ood fit", given, names, [model, data], flags=("best_split", "choose"), repeated={"ood": ood})
    with writing_run("ood-fit", named_by(model), output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: run_fit(
                images,
                plan,
                outliers=foreign,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.done,
                jobs=jobs,
                command=command,
            )
        )
    return _told(run, place, as_json=as_json)


@app.command("score")
def score(
    model: ModelName,
    detector: DetectorFolder,
    data: Annotated[
        list[str],
        typer.Argument(
            help="Images, or one of: a folder (with a sub-folder a class), a CSV or JSON manifest, .npz, idx files, "
            "sample:NAME."
        ),
    ],
    examples: Annotated[
        int | None, typer.Option(min=0, help="Look closer at so many images, the most foreign ones; default 8.")
    ] = None,
    fail_over: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 if a larger share of the images is out-of-distribution."),
    ] = None,
    labels: Labels = None,
    classes: ClassNames = None,
    limit: Limit = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default xai-runs/ood-score-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    jobs: Jobs = None,
    as_json: RecordInstead = False,
) -> int:
    """Say of every image of DATA whether it is foreign to MODEL, and of the most foreign ones why."""
    given = dict(locals())
    from xai.data.dataset import open_data
    from xai.engine.ood.detector import open_detector
    from xai.engine.ood.score import EXAMPLES
    from xai.engine.ood.score import score as run_score

    check_resume(output, resume=resume)
    loaded = _loaded(given)
    opened = open_detector(detector, loaded)
    images = open_data(data[0] if len(data) == 1 else data, loaded, labels=labels).limited(limit)
    command = rerun("ood score", given, ("examples", "fail_over", *COMMON), [model, str(detector), *data])
    with writing_run("ood-score", named_by(model), output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: run_score(
                loaded,
                opened,
                images,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.done,
                jobs=jobs,
                examples=EXAMPLES if examples is None else examples,
                command=command,
            )
        )
    code = _told(run, place, as_json=as_json)
    share = run.findings[0].values["out-of-distribution"].value
    if fail_over is not None and isinstance(share, float) and share > fail_over:
        say(f"violated: {share:.4f} of the images are out-of-distribution, and at most {fail_over:g} were allowed")
        return VIOLATED
    return code


@app.command("evaluate")
def evaluate(
    model: ModelName,
    detector: DetectorFolder,
    inside: Annotated[
        str, typer.Option("--id", metavar="DATA", help="In-distribution images, others than those of the fit.")
    ],
    ood: Named = None,
    near: Annotated[
        list[str] | None,
        typer.Option("--near", metavar="NAME=DATA", help="Outliers near to these; may be repeated."),
    ] = None,
    probes: Annotated[
        str | None,
        typer.Option(help="Outliers made of the in-distribution images: names, all (default) or none."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=0, help="Of the bootstrap that gives the intervals; default 200.")
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 if the combined AUROC is less on any set."),
    ] = None,
    labels: Labels = None,
    classes: ClassNames = None,
    limit: Limit = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the run; default xai-runs/ood-evaluate-<model>-<n>."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    jobs: Jobs = None,
    as_json: RecordInstead = False,
) -> int:
    """Measure how well a detector tells in-distribution images from named sets of others, and from probes."""
    given = dict(locals())
    from xai.data.dataset import open_data
    from xai.engine.ood.detector import open_detector
    from xai.engine.ood.evaluate import ROUNDS, Nearness, gathered, probes_named
    from xai.engine.ood.evaluate import evaluate as run_evaluate

    check_resume(output, resume=resume)
    named = {Nearness.NEAR: _named(near, "--near"), Nearness.FAR: _named(ood, "--ood")}
    made = probes_named(listed(probes))
    loaded = _loaded(given)
    opened = open_detector(detector, loaded)
    known = open_data(inside, loaded, labels=labels).limited(limit)
    sets = gathered(named, loaded, limit)
    names = ("probes", "rounds", "fail_under", *COMMON)
    several = {"id": [inside], "near": near, "ood": ood}
    command = rerun("ood evaluate", given, names, [model, str(detector)], repeated=several)
    with writing_run("ood-evaluate", named_by(model), output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: run_evaluate(
                loaded,
                opened,
                known,
                sets,
                probes=made,
                rounds=ROUNDS if rounds is None else rounds,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.done,
                jobs=jobs,
                command=command,
            )
        )
    code = _told(run, place, as_json=as_json)
    worst = run.findings[0].values["worst AUROC"].value
    if fail_under is not None and isinstance(worst, float) and worst < fail_under:
        say(f"violated: on one set the combined AUROC is {worst:.4f}, and at least {fail_under:g} was required")
        return VIOLATED
    return code


def _loaded(given: dict[str, Any]) -> Any:
    """Open the model that a command line names."""
    from xai.models.loading import load
    from xai.runtime import resolve_device

    return load(
        given["model"],
        arch=given["arch"],
        card=given["card"],
        labels=given["classes"],
        device=resolve_device(given["device"]),
        seed=given["seed"],
        trusted=given["trust_model"],
    )


def _named(lines: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return data by name of lines NAME=DATA."""
    found: dict[str, str] = {}
    for line in lines or []:
        name, equals, data = line.partition("=")
        if not (equals and name.strip() and data):
            raise UsageError(f"{option} {line!r}: expected NAME=DATA, such as {option} letters=notmnist/")
        if name.strip() in found:
            raise UsageError(f"{option}: {name.strip()!r} was given twice; call one of them otherwise")
        found[name.strip()] = data
    return found


def _told(run: Run, place: Place, *, as_json: bool) -> int:
    """Say what was found, and return the exit code."""
    tell_run(run)
    tell_verdicts(run, TOLD)
    for name, value in run.findings[0].values.items():
        if name.startswith("AUROC, ") and value.interval and isinstance(value.value, float):
            low, high = value.interval
            say(f"{name}: {100 * value.value:.2f} ({100 * low:.1f} to {100 * high:.1f})")
    place.show(run, as_json=as_json)
    return exit_code(run)
