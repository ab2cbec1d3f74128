"""xai audit: everything that a policy asks for, in one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xai.cli.options import (
    Arch,
    Device,
    Jobs,
    Overwrite,
    RecordInstead,
    Resume,
    Seed,
    TrustModel,
    rerun,
    tell_run,
)
from xai.cli.place import check_resume, writing_run
from xai.cli.terminal import say
from xai.errors import UsageError

if TYPE_CHECKING:
    from xai.reports.audit import FailOn
    from xai.reports.run import Run

FIRST = Path("audit.yaml")
SIGNS = {"holds": "holds", "violated": "VIOLATED", "not decided": "not decided"}


def audit(
    sources: Annotated[
        list[str], typer.Argument(metavar="POLICY", help="A policy, audit.yaml; with --init: MODEL and DATA.")
    ],
    init: Annotated[
        bool, typer.Option("--init", help="Write a first policy for MODEL and DATA, with comments.")
    ] = False,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="must|should|undecided",
            help="Exit with 1 if what must hold (or should) is violated; undecided: also if it is not decided.",
        ),
    ] = "must",
    jobs: Jobs = None,
    arch: Arch = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the run, default xai-runs/audit-<policy>-<n>; or the policy."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: RecordInstead = False,
) -> int:
    """Measure everything that POLICY asks for, decide its requirements, and write a verification report."""
    given = dict(locals())
    if init:
        return _begin(sources, output or FIRST, overwrite=overwrite)
    if len(sources) != 1:
        raise UsageError(f"expected one policy, received {len(sources)} arguments; --init takes MODEL and DATA")
    from xai.reports.policy.reading import read_policy

    gate = _gate(fail_on)
    check_resume(output, resume=resume)
    read = read_policy(Path(sources[0]))  # a fault in it is told before torch is imported
    from xai.engine.audit.opening import open_model, open_roles
    from xai.engine.audit.run import FOLDER
    from xai.engine.audit.run import audit as run_audit
    from xai.reports.audit import exit_code
    from xai.runtime import resolve_device

    model = open_model(read, device=resolve_device(device), seed=seed, trusted=trust_model, arch=arch)
    roles = open_roles(read, model)
    with writing_run("audit", read.source.stem, output, overwrite=overwrite, resume=resume, checkpoint=FOLDER) as place:
        run = place.publish(
            lambda: run_audit(
                model,
                read,
                roles,
                runtime=place.runtime(model.device, seed),
                store=place.store,
                folder=place.done,
                jobs=jobs,
                command=rerun("audit", given, ("arch",), sources),
            )
        )
    tell_run(run)
    _tell_verdicts(run)
    place.show(run, as_json=as_json)
    assert run.record.audit is not None
    return exit_code(run.record.audit, gate)


def _begin(sources: list[str], place: Path, *, overwrite: bool) -> int:
    """Write a first policy."""
    from xai.reports.policy.start import first_policy

    if len(sources) != 2:
        raise UsageError(f"--init takes MODEL and DATA, received {len(sources)} arguments")
    if place.exists() and not overwrite:
        raise UsageError(f"{place} exists already; --overwrite replaces it, -o names another file")
    place.write_text(first_policy(*sources), encoding="utf-8")
    typer.echo(str(place))
    return 0


def _gate(name: str) -> FailOn:
    from typing import get_args

    from xai.errors import unknown
    from xai.reports.audit import FailOn

    for known in get_args(FailOn):
        if name == known:
            return known  # type: ignore[no-any-return]  # one of the literals
    raise unknown("--fail-on", name, get_args(FailOn))


def _tell_verdicts(run: Run) -> None:
    """Say of each requirement whether it holds, violated ones first."""
    assert run.record.audit is not None
    order = list(SIGNS)
    for one in sorted(run.record.audit.requirements, key=lambda one: -(order.index(one.verdict) % 2)):
        say(f"{SIGNS[one.verdict]}: {one.id} ({one.severity}): {one.demand}: {one.sentence}")
