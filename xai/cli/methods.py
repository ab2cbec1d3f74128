"""xai methods: what there is, as the methods declare it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

import typer

from xai.errors import unknown
from xai.registry import Method


def methods(
    name: Annotated[str | None, typer.Argument(help="One of them, with its parameters and limits.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the declarations as JSON.")] = False,
) -> None:
    """List methods, measures of maps, attacks, alarms, corruptions, bounds, detectors, objectives; or what one says."""
    from xai.explainers.base import explainers
    from xai.measures.base import measures
    from xai.robustness.alarms.base import alarms
    from xai.robustness.attacks.base import attacks
    from xai.robustness.bounds.methods.base import bounders
    from xai.robustness.corruptions.base import corruptions
    from xai.robustness.ood.detectors.base import detectors
    from xai.robustness.smoothing.certify import ABOUT
    from xai.robustness.training.objectives.base import objectives

    declared = [_modelled(cls, cls.family) for cls in explainers.all().values()]
    declared += [_modelled(cls, "measure") for cls in measures.all().values()]
    declared += [_modelled(cls, "attack") for cls in attacks.all().values()]
    declared += [_modelled(cls, "alarm") for cls in alarms.all().values()]
    declared += [_modelled(cls, "corruption") for cls in corruptions.all().values()]
    declared += [_declared(cls.about, "bound", {}) for cls in bounders.all().values()]
    declared += [_declared(ABOUT, "bound", {})]
    declared += [_modelled(cls, "detector") for cls in detectors.all().values()]
    declared += [_modelled(cls, "objective") for cls in objectives.all().values()]
    if name:
        declared = [entry for entry in declared if entry["name"] == name] or _refuse(name, declared)
    if as_json:
        typer.echo(json.dumps(declared, indent=1))
    elif name:
        _tell_one(declared[0])
    else:
        _tell_all(declared)


def _refuse(name: str, declared: list[dict[str, Any]]) -> NoReturn:
    raise unknown(
        "method, measure, attack, alarm, corruption, bound, detector or objective",
        name,
        [entry["name"] for entry in declared],
    )


def _modelled(cls: Any, family: str) -> dict[str, Any]:
    """Return the declaration of a method whose fields are its parameters."""
    return _declared(cls.about, family, cls.model_json_schema().get("properties", {}))


def _declared(about: Method, family: str, parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one declaration as plain data."""
    return {
        "family": family,
        "name": about.name,
        "title": about.title,
        "summary": about.summary,
        "limits": about.limits,
        "source": about.source,
        "kind": about.kind.value,
        "needs": sorted(about.needs),
        "default": about.default,
        "parameters": {key: {k: v for k, v in value.items() if k != "title"} for key, value in parameters.items()},
    }


def _tell_all(declared: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what its answer means", "kind", "needs", box=None, pad_edge=False)
    for family in dict.fromkeys(entry["family"] for entry in declared):
        table.add_section()
        table.add_row(f"[bold]{family}[/bold]")
        for entry in declared:
            if entry["family"] == family:
                star = "*" if entry["default"] else ""
                table.add_row(
                    entry["name"] + star, entry["summary"], entry["kind"], ", ".join(entry["needs"]) or "outputs"
                )
    Console(file=sys.stdout).print(table)
    typer.echo("* runs unless others are named; xai methods NAME shows parameters and limits")


def _tell_one(entry: dict[str, Any]) -> None:
    typer.echo(f"{entry['title']} ({entry['name']})\n{entry['summary']}\nLimits: {entry['limits']}")
    typer.echo(
        f"Kind: {entry['kind']}. Needs: {', '.join(entry['needs']) or 'outputs only'}.\nSource: {entry['source']}"
    )
    for key, schema in entry["parameters"].items():
        default = "automatic" if schema.get("default") is None else schema["default"]
        typer.echo(f"  {entry['name']}.{key} = {default}: {schema.get('description', '')}")
