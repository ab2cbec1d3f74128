"""xai attack: what makes the model fail, and how little does it take?"""

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

VIOLATED = 1
WRITTEN = (
    "attacks",
    "plan",
    "norm",
    "eps",
    "target",
    "labels",
    "classes",
    "alarms",
    "surrogate",
    "surrogate_arch",
    "surrogate_card",
    "limit",
    "examples",
    "corruptions",
    "severities",
    "fail_under",
    "arch",
    "card",
)


def attack(
    model: ModelName,
    data: Annotated[
        str,
        typer.Argument(
            help="An image, a folder (with a sub-folder a class), a CSV or JSON manifest, .npz, idx files, sample:NAME."
        ),
    ],
    attacks: Annotated[
        str | None,
        typer.Option("--attack", help="Names, separated by commas, all or none; see xai methods. Default: pgd."),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help="A named set of attacks instead: standard (the AutoAttack ensemble).")
    ] = None,
    norm: Annotated[str, typer.Option(help="How the change is measured: linf, l2 or l1.")] = "linf",
    eps: Annotated[
        str | None, typer.Option(help="Largest changes in input units, separated by commas: 2/255,8/255 or 0.03.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "--targets", help="The class that the attacker wants; default any other.")
    ] = None,
    labels: Labels = None,
    classes: ClassNames = None,
    corruptions: Annotated[
        str | None,
        typer.Option(help="Damage without an attacker: names, default (the fifteen of ImageNet-C) or all."),
    ] = None,
    severities: Annotated[str | None, typer.Option(help="Of the corruptions: 1,3,5; default all five.")] = None,
    alarms: Annotated[
        str | None,
        typer.Option(help="What tells whether to believe it: names, all or none; default the ones that need no more."),
    ] = None,
    surrogate: Annotated[
        str | None, typer.Option(help="Another model for the same task, whose gradients are tried on this one.")
    ] = None,
    surrogate_arch: Annotated[str | None, typer.Option(help="As --arch, for the surrogate.")] = None,
    surrogate_card: Annotated[Path | None, typer.Option(help="As --card, for the surrogate.")] = None,
    limit: Limit = None,
    examples: Annotated[
        int | None, typer.Option(min=0, help="Look closer at so many of the adversarial images; default 4.")
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 if the accuracy under attack at the largest change is less."),
    ] = None,
    jobs: Jobs = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.PARAM=VALUE", help="A parameter of an attack or alarm; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default xai-runs/attack-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: RecordInstead = False,
) -> int:
    """Attack MODEL on every image of DATA, re-check what was found, and write a report."""
    given = dict(locals())
    from xai.data.dataset import open_data
    from xai.engine.attack import attack as run_attack
    from xai.engine.changes import EXAMPLES
    from xai.engine.threat import plan_attack
    from xai.models.loading import load
    from xai.robustness.corruptions.base import SEVERITIES
    from xai.runtime import resolve_device

    check_resume(output, resume=resume)
    settings = read_settings(parameters or [])
    computer = resolve_device(device)
    loaded = load(model, arch=arch, card=card, labels=classes, device=computer, seed=seed, trusted=trust_model)
    other = None
    if surrogate is not None:
        other = load(
            surrogate, arch=surrogate_arch, card=surrogate_card, device=computer, seed=seed, trusted=trust_model
        )
    elif surrogate_arch or surrogate_card:
        raise UsageError("--surrogate-arch or --surrogate-card was given without --surrogate; name the other model")
    if severities is not None and corruptions is None:
        raise UsageError("--severities was given without --corruptions; name some, or default")
    planned = plan_attack(
        loaded,
        listed(attacks),
        plan=plan,
        norm=norm,
        epsilons=listed(eps),
        target=target,
        parameters=settings,
        corrupted_by=listed(corruptions),
        severities=SEVERITIES if severities is None else _degrees(severities),
        alarms=listed(alarms),
        surrogate=other,
    )
    if fail_under is not None and not planned.epsilons:
        raise UsageError("--fail-under was given, and there is no attack within a size; name one with --eps")
    images = open_data(data, loaded, labels=labels).limited(limit)
    with writing_run("attack", named_by(model), output, overwrite=overwrite, resume=resume) as place:
        run = place.publish(
            lambda: run_attack(
                loaded,
                images,
                planned,
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.done,
                jobs=jobs,
                examples=EXAMPLES if examples is None else examples,
                command=rerun("attack", given, WRITTEN, [given["model"], given["data"]], {"attacks": "attack"}),
            )
        )
    tell_run(run)
    place.show(run, as_json=as_json)
    return _code(run, fail_under, list(planned.epsilons)[-1:])


def _degrees(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"severities {text!r}: expected numbers from 1 to 5, separated by commas") from None


def _code(run: Run, fail_under: float | None, largest: list[str]) -> int:
    """Return the exit code: 1 if less than wanted is left at the largest change."""
    left = run.findings[0].values[f"robust accuracy at {largest[0]}"].value if largest else None
    if fail_under is not None and isinstance(left, float) and left < fail_under:
        say(f"violated: accuracy under attack is {left:.4f}, and at least {fail_under:g} was required")
        return VIOLATED
    return exit_code(run)
