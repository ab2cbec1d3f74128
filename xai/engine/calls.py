"""A call of the Python API, written down so that it makes a run again; and what every call checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from xai.errors import UsageError
from xai.models.model import Model


def check_model(model: object) -> None:
    """Raise UsageError unless it is a model."""
    if not isinstance(model, Model):
        raise UsageError(
            f"expected a model from xai.load, received {type(model).__name__}; open it with xai.load first"
        )


def check_least(least: int, **given: int | None) -> None:
    """Raise UsageError for a number, given by name, that is less."""
    for name, value in given.items():
        if value is not None and value < least:
            raise UsageError(f"{name}: expected {least} or more, received {value}")


def names_of(given: str | Iterable[str] | None) -> list[str] | None:
    """Return names as a list; one text is one name."""
    return [given] if isinstance(given, str) else given if given is None else list(given)


def call_of(verb: str, model: Model, *given: object, **options: object) -> str:
    """Return the call that makes a run again; a live object is written as a comment, since it has no name here.

    Args:
        verb: "explain", "ood.fit", ...
        model: the first argument.
        given: the other arguments, as far as they are not None.
        options: by name; those that are None are left out.
    """
    shown = "".join(f", {_listed(one)}" for one in given if one is not None)
    return f"xai.{verb}({model.call or 'model'}{shown}{options_of(options)})"


def options_of(options: Mapping[str, object]) -> str:
    """Return options by name as they are written in a call."""
    return "".join(f", {name}={written(value)}" for name, value in options.items() if value is not None)


def written(value: object) -> str:
    """Return a value as Python writes it."""
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, Model) and value.call:
        return value.call
    plain = isinstance(value, str | int | float | list | tuple | dict)
    return repr(value) if plain else f"...  # a live {type(value).__name__}\n"


def _listed(value: object) -> str:
    return f"[{', '.join(map(written, value))}]" if isinstance(value, list | tuple) else written(value)
