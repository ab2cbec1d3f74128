"""xai methods: what there is, as the methods declare it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its parameters and limits.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the declarations as JSON.")] = False,
) -> None:
    """List the methods, or one method's parameters, limits and source."""
    from xai.explainers.base import explainers

    chosen = {name: explainers.get(name)} if name else explainers.all()
    declared = [_declared(cls) for cls in chosen.values()]
    if as_json:
        typer.echo(json.dumps(declared, indent=1))
    elif name:
        _tell_one(declared[0])
    else:
        _tell_all(declared)


def _declared(cls: Any) -> dict[str, Any]:
    """Return one method's declaration as plain data."""
    about = cls.about
    parameters = cls.model_json_schema().get("properties", {})
    return {
        "family": "explanation",
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

    table = Table("method", "what its answer means", "kind", "needs", box=None, pad_edge=False)
    for entry in declared:
        star = "*" if entry["default"] else ""
        table.add_row(entry["name"] + star, entry["summary"], entry["kind"], ", ".join(entry["needs"]) or "outputs")
    Console(file=sys.stdout).print(table)
    typer.echo("* runs when no method is named; xai methods NAME shows parameters and limits")


def _tell_one(entry: dict[str, Any]) -> None:
    typer.echo(f"{entry['title']} ({entry['name']})\n{entry['summary']}\nLimits: {entry['limits']}")
    typer.echo(
        f"Kind: {entry['kind']}. Needs: {', '.join(entry['needs']) or 'outputs only'}.\nSource: {entry['source']}"
    )
    for key, schema in entry["parameters"].items():
        default = "automatic" if schema.get("default") is None else schema["default"]
        typer.echo(f"  {entry['name']}.{key} = {default}: {schema.get('description', '')}")
