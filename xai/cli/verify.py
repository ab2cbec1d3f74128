"""xai verify: what is proved?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.options import (
    Arch,
    CardFile,
    ClassNames,
    Device,
    Labels,
    Limit,
    Overwrite,
    RecordInstead,
    Resume,
    Seed,
    TrustModel,
    rerun,
    tell_run,
)
from xai.cli.place import check_resume, exit_code, named_by, writing_run
from xai.cli.terminal import say
from xai.cli.vnnlib import many, one
from xai.errors import UsageError

if TYPE_CHECKING:
    from xai.reports.records import Value
    from xai.reports.run import Run

VIOLATED, NOT_DECIDED = 1, 5
VNNLIB = (".vnnlib", ".vnnlib.gz")
WRITTEN = (
    "eps",
    "norm",
    "properties",
    "timeout",
    "arithmetic",
    "labels",
    "classes",
    "limit",
    "examples",
    "fail_under",
    "arch",
    "card",
)
VERIFIED, LEFT = "verified accuracy at ", "accuracy under attack at "


def verify(
    model: Annotated[
        str | None, typer.Argument(help="A file, a folder holding one, torchvision:NAME, timm:NAME or sample:NAME.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, or one of: a folder (with a sub-folder a class), a CSV or JSON manifest, .npz, idx files, "
            "sample:NAME; or a property.vnnlib(.gz)."
        ),
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="Size of the change in input units: 2/255 or 0.03; needed with images.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="How the change is measured: linf (default), l2 or l1.")] = None,
    properties: Annotated[
        Path | None, typer.Option(help="A YAML file of properties, instead of DATA: docs/properties.md.")
    ] = None,
    instances: Annotated[
        Path | None, typer.Option(help="A list of VNN-LIB instances (network, property, timeout), instead of MODEL.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for each image or property; default 60, of --instances the list's.")
    ] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(
            help="real (default): the network in real numbers; float: the float32 network, rounding included."
        ),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="Write the proof of a VNN-LIB property to this file, for xai check.")
    ] = None,
    keep_proofs: Annotated[
        bool,
        typer.Option("--keep-proofs", help="Keep the proof of all that holds, and have each checked."),
    ] = False,
    labels: Labels = None,
    classes: ClassNames = None,
    limit: Limit = None,
    examples: Annotated[int | None, typer.Option(min=0, help="Draw so many of the counterexamples; default 4.")] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Verified accuracy that is required: exit with 5 if it is less, with 1 if so is what attacks left. "
            "Default 1: every image.",
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Images at once; default one a core.")] = None,
    arch: Arch = None,
    card: CardFile = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default xai-runs/verify-<model>-<n>.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: RecordInstead = False,
) -> int:
    """Decide whether MODEL's answers hold for every input near DATA, or properties hold, and write a report.

    Exit codes: 0 if all that is required holds, 1 if something is violated (an image that is wrong without a change
    included), 5 if something is not decided and nothing is violated.
    """
    given = dict(locals())
    _check_asked(given)
    if instances is not None:
        return _instances(given)
    if data is not None and len(data) == 1 and data[0].endswith(VNNLIB):
        return _vnnlib(given)
    check_resume(output, resume=resume)
    run = _run(given)
    tell_run(run)
    return _code(run, fail_under)


def _run(given: dict[str, Any]) -> Run:
    """Plan, verify, and write."""
    from xai.data.dataset import open_data
    from xai.engine.changes import EXAMPLES
    from xai.engine.deciding import plan_deciding, plan_verify
    from xai.engine.stated import verify_properties
    from xai.engine.verify import verify as run_verify
    from xai.models.loading import load
    from xai.robustness.verify.statements import read_statements
    from xai.runtime import resolve_device

    name, seed = given["model"], given["seed"]
    read = None if given["properties"] is None else read_statements(given["properties"])
    loaded = load(
        name,
        arch=given["arch"],
        card=given["card"],
        labels=given["classes"],
        device=resolve_device(given["device"]),
        seed=seed,
        trusted=given["trust_model"],
    )
    names = ("timeout", "keep_proofs")
    plan = {name: given[name] for name in names} | {"arithmetic": given["arithmetic"] or "real"}
    decide: Callable[..., Run]
    if read is not None:
        deciding = plan_deciding(loaded, **plan)
        decide = partial(verify_properties, read.compiled(deciding.bounding), deciding)
    else:
        planned = plan_verify(loaded, given["eps"], norm=given["norm"] or "linf", **plan)
        data = given["data"]
        images = open_data(data[0] if len(data) == 1 else data, loaded, labels=given["labels"]).limited(given["limit"])
        examples = EXAMPLES if given["examples"] is None else given["examples"]
        decide = partial(run_verify, images, planned, examples=examples)
    with writing_run(
        "verify", named_by(name), given["output"], overwrite=given["overwrite"], resume=given["resume"]
    ) as place:
        run = place.publish(
            lambda: decide(
                runtime=place.runtime(loaded.device, seed),
                store=place.store,
                folder=place.done,
                jobs=given["jobs"],
                command=rerun("verify", given, WRITTEN, [name, *(given["data"] or [])], flags=("keep_proofs",)),
            )
        )
    place.show(run, as_json=given["as_json"])
    return run


OF_IMAGES = ("eps", "norm", "labels", "limit", "examples", "fail_under")


def _check_asked(given: dict[str, Any]) -> None:
    """Refuse what does not go together, before a model is loaded."""
    data = given["data"] or []
    is_vnnlib = len(data) == 1 and data[0].endswith(VNNLIB)
    if not is_vnnlib:
        _refuse(given, ("proof",), "proofs are written of a VNN-LIB property alone")
    if given["instances"] is not None:
        _refuse(
            given,
            ("model", "data", "properties", "keep_proofs", *OF_IMAGES, "classes", "arch", "card"),
            "--instances names all",
        )
        return
    if given["model"] is None:
        raise UsageError("no MODEL was given; expected one with DATA or --properties, or --instances LIST.csv")
    if given["properties"] is not None:
        _refuse(given, ("data", *OF_IMAGES), "--properties says what must hold, and of which inputs")
        return
    if not data:
        raise UsageError("nothing was given to verify; expected DATA with --eps, property.vnnlib, or --properties FILE")
    if is_vnnlib:
        _refuse(given, ("keep_proofs",), "the proof of a VNN-LIB property is written with --proof FILE")
        _refuse(given, ("resume", "overwrite", "as_json"), "a VNN-LIB property is answered in its own words, in one go")
        _refuse(given, (*OF_IMAGES, "classes", "jobs"), "a VNN-LIB file says what must hold, and of which inputs")
    elif any(one.endswith(VNNLIB) for one in data):
        raise UsageError("expected one VNN-LIB file, or images; received several; of many, see --instances")
    elif given["eps"] is None:
        raise UsageError("--eps is missing: name the size of the change in input units, such as --eps 1/255")


def _refuse(given: dict[str, Any], names: tuple[str, ...], reason: str) -> None:
    for name in names:
        if given[name]:
            option = f"--{name.removeprefix('as_').replace('_', '-')}"
            written = name.upper() if name in ("model", "data") else option
            raise UsageError(f"{written} was given, and {reason}; leave it out")


def _vnnlib(given: dict[str, Any]) -> int:
    (file,) = given["data"]
    names = ("timeout", "arithmetic", "seed", "device", "arch", "card", "trust_model", "output", "proof")
    return one(given["model"], Path(file), **{name: given[name] for name in names})


def _instances(given: dict[str, Any]) -> int:
    names = ("timeout", "arithmetic", "seed", "device", "jobs", "output", "resume", "overwrite")
    return many(given["instances"], **{name: given[name] for name in names})


def _code(run: Run, fail_under: float | None) -> int:
    """Return the exit code, and say what it is for."""
    if exit_code(run):
        return exit_code(run)
    stated = [finding for finding in run.findings if finding.family == "property"]
    return _of_statements(run) if stated else _of_images(run, 1.0 if fail_under is None else fail_under)


def _of_statements(run: Run) -> int:
    verdicts = [finding.verdict for finding in run.findings]
    for finding in run.findings:
        say(f"{finding.verdict}: {finding.title}")
    return VIOLATED if "violated" in verdicts else 0 if set(verdicts) == {"holds"} else NOT_DECIDED


def _of_images(run: Run, wanted: float) -> int:
    whole = run.record.findings[0]
    if whole.status != "ok":
        say(f"not decided: nothing could be verified: {whole.reason}")
        return NOT_DECIDED
    (name,) = [key.removeprefix(VERIFIED) for key in whole.values if key.startswith(VERIFIED)]
    proved, left = (_share(whole.values[f"{side}{name}"]) for side in (VERIFIED, LEFT))
    if proved >= wanted:
        return 0
    required = f"and at least {wanted:g} was required"
    if left < wanted:
        say(f"violated: at most {left:.4f} are right within {name}, {required}")
        return VIOLATED
    say(f"not decided: {proved:.4f} are proved to be right within {name}, {required}; it may still hold")
    return NOT_DECIDED


def _share(value: Value) -> float:
    return value.value if isinstance(value.value, float) else 0.0
