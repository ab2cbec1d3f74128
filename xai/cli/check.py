"""xai check: is a run what it was when it was written? Needs no torch, unless a model is to answer again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xai.cli.options import Arch, CardFile, ClassNames, Device, Seed, TrustModel
from xai.cli.terminal import plain, say
from xai.errors import UsageError

TAMPERED, NOT_DECIDED = 1, 5


def check(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
    model: Annotated[
        str | None, typer.Option(help="The model of that run: stored and adversarial inputs are put before it again.")
    ] = None,
    property_: Annotated[
        Path | None, typer.Option("--property", help="Of a proof: the VNN-LIB file that it must be about.")
    ] = None,
    arch: Arch = None,
    card: CardFile = None,
    labels: ClassNames = None,
    trust_model: TrustModel = False,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> int:
    """Compute digests, values, verdicts and renderings of RUN_DIR again, and list what is not as it was written.

    RUN_DIR may be the file of a proof, too: it is checked by code that shares nothing with the search.
    """
    if run_dir.is_file() or property_ is not None:
        return _proof(run_dir, model, property_, arch, card, device, seed, trust_model=trust_model)
    if model is None:
        from xai.reports.check import check as run_check

        found = run_check(run_dir)
    else:
        from xai.engine.recheck import recheck
        from xai.models.loading import load
        from xai.runtime import resolve_device

        place = resolve_device(device)
        loaded = load(model, arch=arch, card=card, labels=labels, device=place, seed=seed, trusted=trust_model)
        found = recheck(run_dir, loaded, seed=seed)
    for line in found.unchecked:
        say(f"not checked: {line}")
    if as_json:
        told = asdict(found) | {"complaints": [one._asdict() for one in found.complaints]}
        typer.echo(json.dumps(told, indent=1))
    else:
        for one in found.complaints:
            typer.echo(plain(f"✗ {one.what}: {one.words}"))
        for line in found.done:
            typer.echo(f"{'checked' if found.complaints else '✓'} {plain(line)}")
    return TAMPERED if found.complaints else 0


def _proof(
    file: Path,
    model: str | None,
    written: Path | None,
    arch: str | None,
    card: Path | None,
    device: str,
    seed: int,
    *,
    trust_model: bool,
) -> int:
    """Check a proof and say what became of it: 0 checked, 1 wrong, 5 not checked."""
    from xai.engine.vnnlib import check_written
    from xai.models.loading import load
    from xai.robustness.verify.checker.check import State
    from xai.runtime import resolve_device

    if model is None:
        raise UsageError(f"{file} is a proof: expected the network that it is about, as --model")
    loaded = load(model, arch=arch, card=card, device=resolve_device(device), seed=seed, trusted=trust_model)
    found = check_written(file, loaded, written)
    typer.echo(plain(found.text))
    return {State.CHECKED: 0, State.WRONG: TAMPERED}.get(found.state, NOT_DECIDED)
