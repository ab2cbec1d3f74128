"""xai config: what configuration files may hold; needs no torch."""

from __future__ import annotations

import typer

config = typer.Typer(help="What configuration files may hold.")


@config.callback()
def _group() -> None:
    """Keep the verb's name before its words, one word or many."""


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of an audit's policy (audit.yaml), for editors and checkers."""
    from xai.reports.policy.reading import schema_text

    typer.echo(schema_text(), nl=False)
