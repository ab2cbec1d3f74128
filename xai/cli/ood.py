"""xai ood: does it know what it does not know?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.explain import read_settings
from xai.cli.options import (
    Arch,
    CardFile,
    ClassNames,
    Device,
    ModelName,
    Overwrite,
    RecordInstead,
    Seed,
    TrustModel,
    listed,
    rerun,
    tell_run,
    tell_verdicts,
)
from xai.cli.terminal import progress, say
from xai.errors import StoppedError, UsageError

if TYPE_CHECKING:
    from xai.reports.artefacts import Store
    from xai.reports.run import Run
    from xai.runtime import Progress

FAILED, VIOLATED = 3, 1
COMMON = ("labels", "classes", "limit", "arch", "card")
TOLD = 8  # images whose verdict is told on stderr

Data = Annotated[
    str,
    typer.Argument(
        help="A picture, a folder (with a sub-folder a class), a CSV or JSON manifest, .npz, idx files, sample:NAME."
    ),
]
DetectorFolder = Annotated[Path, typer.Argument(help="The folder that xai ood fit -o wrote.")]
Labels = Annotated[Path | None, typer.Option(help="File with a label each, for arrays without.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only so many images.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Shards at once; default one a core.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that was killed in that folder.")]
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
    with _folder("ood-fit", model, output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: run_fit(
                images,
                plan,
                outliers=foreign,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.shards,
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

    loaded = _loaded(given)
    opened = open_detector(detector, loaded)
    images = open_data(data[0] if len(data) == 1 else data, loaded, labels=labels).limited(limit)
    command = rerun("ood score", given, ("examples", "fail_over", *COMMON), [model, str(detector), *data])
    with _folder("ood-score", model, output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: run_score(
                loaded,
                opened,
                images,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.shards,
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

    named = {Nearness.NEAR: _named(near, "--near"), Nearness.FAR: _named(ood, "--ood")}
    made = probes_named(listed(probes))
    loaded = _loaded(given)
    opened = open_detector(detector, loaded)
    known = open_data(inside, loaded, labels=labels).limited(limit)
    sets = gathered(named, loaded, limit)
    names = ("probes", "rounds", "fail_under", *COMMON)
    several = {"id": [inside], "near": near, "ood": ood}
    command = rerun("ood evaluate", given, names, [model, str(detector)], repeated=several)
    with _folder("ood-evaluate", model, output, overwrite=overwrite, resume=resume) as place:
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
                folder=place.shards,
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


@dataclass(frozen=True)
class _Place:
    """Where a run is written while it works.

    Args:
        folder: where it will stand.
        partial: where it is written.
        tell: is told of progress.
    """

    folder: Path
    partial: Path
    tell: Progress

    @property
    def shards(self) -> Path:
        """The folder of what is done so far."""
        from xai.engine.shards import FOLDER

        return self.partial / FOLDER

    @property
    def store(self) -> Store:
        """What keeps the arrays."""
        from xai.reports.artefacts import FolderStore

        return FolderStore(self.partial)

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


@contextmanager
def _folder(verb: str, model: str, output: Path | None, *, overwrite: bool, resume: bool) -> Iterator[_Place]:
    """Give the place of a run, which stands at the end or can be gone on with after an interruption."""
    from xai.engine.shards import FOLDER
    from xai.reports.folder import free_folder, writing

    if resume and output is None:
        raise UsageError("--resume was given without -o; name the folder whose run was killed")
    folder = output or free_folder(verb, Path(model.rpartition(":")[2]).stem)
    unfinished = folder.with_name(f"{folder.name}.partial")
    if resume and not unfinished.is_dir():
        say(f"note: {folder} has no killed run to go on with: this one begins")
    try:
        with writing(folder, overwrite=overwrite, resume=resume, checkpoint=FOLDER) as partial, progress() as tell:
            yield _Place(folder, partial, tell)
    except KeyboardInterrupt:
        if not unfinished.exists():
            raise
        raise StoppedError(f"interrupted: what is done is kept; go on with --resume -o {folder}") from None


def _told(run: Run, place: _Place, *, as_json: bool) -> int:
    """Say what was found, and return the exit code."""
    from xai.reports.folder import REPORT

    tell_run(run)
    tell_verdicts(run, TOLD)
    for name, value in run.findings[0].values.items():
        if name.startswith("AUROC, ") and value.interval and isinstance(value.value, float):
            low, high = value.interval
            say(f"{name}: {100 * value.value:.2f} ({100 * low:.1f} to {100 * high:.1f})")
    typer.echo(run.record.model_dump_json(indent=1) if as_json else str(place.folder / REPORT))
    return FAILED if any(finding.status == "failed" for finding in run.findings) else 0
