"""xai bounds: what can the outputs become, and which answers are certified?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
)
from xai.cli.place import check_resume, exit_code, named_by, writing_run
from xai.cli.terminal import say
from xai.errors import UsageError

if TYPE_CHECKING:
    from xai.reports.run import Run

VIOLATED, NOT_DECIDED = 1, 5
VERDICT = "verdict at "
WRITTEN = (
    "method",
    "norm",
    "eps",
    "arithmetic",
    "layer",
    "attack_plan",
    "sigma",
    "draws",
    "n0",
    "alpha",
    "labels",
    "classes",
    "limit",
    "examples",
    "fail_under",
    "arch",
    "card",
)
ABOVE = ("accuracy under attack at {}", "not known to be wrong", "accuracy")  # what the truth is at most


def bounds(
    model: ModelName,
    data: Annotated[
        list[str],
        typer.Argument(
            help="Images, or one of: a folder (with a sub-folder a class), a CSV or JSON manifest, .npz, idx files, "
            "sample:NAME."
        ),
    ],
    eps: Annotated[
        str | None,
        typer.Option(
            help="Sizes of the change in input units, separated by commas: 2/255,8/255 or 0.03. Default for linf: "
            "1, 2, 4 and 8/255 of the range."
        ),
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="How the change is measured: linf, l2 or l1; default linf, of smoothing l2.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="One of xai methods. smoothing is another kind: statistics, no bounds. Default: crown."),
    ] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(
            help="real (default): the network in real numbers; float: the float32 network, rounding included."
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Bound a layer's numbers instead of the outputs.")] = None,
    largest: Annotated[
        bool, typer.Option("--largest", help="Find each image's largest certified change, by bisection.")
    ] = False,
    attack_plan: Annotated[
        str | None,
        typer.Option(help="Attacks that the proof stands beside: standard, names separated by commas, or none."),
    ] = None,
    sigma: Annotated[float | None, typer.Option(help="smoothing: standard deviation of the noise.")] = None,
    draws: Annotated[int | None, typer.Option(help="smoothing: draws an image that estimate; default 1000.")] = None,
    n0: Annotated[int | None, typer.Option("--n0", help="smoothing: draws that select a class; default 100.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="smoothing: probability that a statement is wrong; default 0.001.")
    ] = None,
    labels: Labels = None,
    classes: ClassNames = None,
    limit: Limit = None,
    examples: Annotated[
        int | None, typer.Option(min=0, help="Draw the bounds of so many images, the first ones; default 4.")
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Exit with 5 if the certified accuracy at the largest change is less, with 1 if so is what attacks "
            "left.",
        ),
    ] = None,
    jobs: Jobs = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.PARAM=VALUE", help="A parameter of an attack; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default xai-runs/bounds-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: RecordInstead = False,
) -> int:
    """Bound what MODEL's outputs can become around every image of DATA, try the bounds, and write a report."""
    given = dict(locals())
    from xai.data.dataset import open_data
    from xai.engine.asked import certify, plan_certifying
    from xai.engine.examined import EXAMPLES
    from xai.models.loading import load
    from xai.runtime import resolve_device

    check_resume(output, resume=resume)
    settings = read_settings(parameters or [])
    computer = resolve_device(device)
    loaded = load(model, arch=arch, card=card, labels=classes, device=computer, seed=seed, trusted=trust_model)
    planned = plan_certifying(
        loaded,
        listed(eps),
        norm=norm,
        method=method,
        arithmetic=arithmetic,
        layer=layer,
        attack=attack_plan,
        parameters=settings,
        largest=largest,
        sigma=sigma,
        draws=draws,
        n0=n0,
        alpha=alpha,
    )
    if fail_under is not None and (layer is not None or loaded.card.output == "values"):
        raise UsageError(
            "--fail-under was given, and only a model's scores of classes can be right or wrong; leave it out"
        )
    images = open_data(data[0] if len(data) == 1 else data, loaded, labels=labels).limited(limit)
    with writing_run("bounds", named_by(model), output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: certify(
                images,
                planned,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.done,
                jobs=jobs,
                examples=EXAMPLES if examples is None else examples,
                command=rerun("bounds", given, WRITTEN, [given["model"], *given["data"]], flags=("largest",)),
            )
        )
    tell_run(run)
    _tell_images(run)
    place.show(run, as_json=as_json)
    return _code(run, fail_under)


def _tell_images(run: Run) -> None:
    """Say what was decided of single images."""
    from xai.reports.words import at_least

    for finding in run.record.findings:
        if finding.input is None or finding.status != "ok":
            continue
        values = {name: value.value for name, value in finding.values.items()}
        for name, told in values.items():
            if name.startswith(VERDICT):
                size = name.removeprefix(VERDICT)
                say(f"{finding.input} within {size}: {told}; can win: {values[f'can win at {size}']}")
            elif name == "statement":
                say(f"{finding.input}: {told}")
            elif name.startswith("largest ") and isinstance(told, float):
                say(f"{finding.input}: {name}: {at_least(told)}")


def _code(run: Run, fail_under: float | None) -> int:
    """Return the exit code: what is required holds if it is certified, and is violated if attacks left less."""
    whole = run.record.findings[0]
    if exit_code(run) or fail_under is None:
        return exit_code(run)
    if whole.status != "ok":
        say(f"not decided: nothing could be certified: {whole.reason}")
        return NOT_DECIDED
    name, certified = [(key, value.value) for key, value in whole.values.items() if key.startswith("certified acc")][-1]
    size = name.removeprefix("certified accuracy at ")
    most = next(whole.values[each.format(size)].value for each in ABOVE if each.format(size) in whole.values)
    if isinstance(certified, float) and certified >= fail_under:
        return 0
    if isinstance(most, float) and most < fail_under:
        say(f"violated: at most {most:.4f} are right within {size}, and at least {fail_under:g} was required")
        return VIOLATED
    told = f"{certified:.4f} are certified within {size}, and at least {fail_under:g} was required; it may still hold"
    say(f"not decided: {told}")
    return NOT_DECIDED
