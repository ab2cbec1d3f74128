"""A first card of a model: what is known of it as YAML, with every guess marked as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from xai.errors import UsageError
from xai.models.card import NAMEABLE, Card, Input
from xai.models.model import Model
from xai.text import visible

SUFFIX = ".yaml"
BREAKS = ("\x85", "\u2028", "\u2029", "\ufeff")


def card_place(source: str, path: str | Path | None = None) -> Path:
    """Return where the card of a source is written; raise UsageError if something is there, or no place is named.

    Args:
        source: the model as the user named it.
        path: where the user wants it; default <stem>.yaml beside a file, model.yaml in a folder.
    """
    if path is None and source.startswith(NAMEABLE):
        raise UsageError(f"{source} is no file that a card could be written beside: give the card's own path")
    model = Path(source)
    beside = model / f"model{SUFFIX}" if model.is_dir() else model.with_suffix(SUFFIX)
    place = Path(path) if path is not None else beside
    if place.exists() or place.is_symlink():
        raise UsageError(f"{place} exists and a card never replaces another: give another path, or move that one away")
    return place


def write_card(model: Model, place: Path) -> None:
    """Write a model's first card; raise UsageError if something is there already or it can not be written."""
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(draft(model))
    except OSError as error:
        raise UsageError(f"card {place} cannot be written: {error.strerror}; give another path") from error


def draft(model: Model) -> str:
    """Return a card that gives this model again, as YAML.

    Every field has a comment that says what it is; one that stands on an assumption has a second one, "guessed: ...".
    """
    fields = model.card.model_dump(mode="json", exclude={"input", "architecture"})
    lines = _comment(f"Card of {model.name}. What is marked 'guessed' was assumed: check it, then delete the remark.")
    lines += _architecture(model)
    for name, value in fields.items():
        if value is not None:
            lines += _field(Card, name, value, model.guessed.get(name, ""))
    lines += [*_comment(_meaning(Card, "input")), "input:"]
    for name, value in model.input.model_dump(mode="json").items():
        lines += [f"  {line}" for line in _field(Input, name, value, model.guessed.get(f"input.{name}", ""))]
    return "\n".join(lines) + "\n"


def _architecture(model: Model) -> list[str]:
    """Return the architecture where a card can name it; else as a comment, since the source or the user brings it."""
    if not model.architecture:
        return []
    line = _dump("architecture", model.architecture)
    if model.architecture == model.source:
        return _comment(f"{line[0]} (for a file of weights of this network; the name {model.source} brings it)")
    if model.architecture.startswith(NAMEABLE):
        return [*_comment(_meaning(Card, "architecture")), *line]
    return _comment(
        f"the architecture was named by the user, and a card can not name code: --arch {model.architecture}"
    )


def _field(owner: type[Card] | type[Input], name: str, value: Any, guess: str) -> list[str]:
    return [*_comment(_meaning(owner, name)), *(_comment(f"guessed: {guess}") if guess else []), *_dump(name, value)]


def _meaning(owner: type[Card] | type[Input], name: str) -> str:
    return owner.model_fields[name].description or name


def _comment(text: str) -> list[str]:
    return [f"# {visible(' '.join(text.split()))}"]


def _dump(name: str, value: Any) -> list[str]:
    """Return a field in YAML; a list of numbers stands in one line."""
    flow = isinstance(value, list) and not any(isinstance(item, str) for item in value)

    def dumped(*, readable: bool) -> str:
        return yaml.safe_dump(
            {name: value},
            default_flow_style=None if flow else False,
            allow_unicode=readable,
            sort_keys=False,
            width=2**20,
        )

    text = dumped(readable=True)
    if any(sign in text for sign in BREAKS):  # unescaped they would be read as ends of lines
        text = dumped(readable=False)
    return text.rstrip("\n").split("\n")
