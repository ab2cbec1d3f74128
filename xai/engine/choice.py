"""Methods by name: which of a family are chosen, made with their parameters, and whether a model lets them run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from xai.errors import UsageError, unknown
from xai.models.card import one_line
from xai.models.model import Model
from xai.registry import Family, Method, Need

Parameters = Mapping[str, Mapping[str, Any]]
ALL, NONE, DEFAULT = "all", "none", "default"


M = TypeVar("M", bound=BaseModel)


def defaults(family: Family[M]) -> list[type[M]]:
    """Return the classes that declare themselves default."""
    return [cls for cls in family.all().values() if about(cls).default]


def named(family: Family[M], names: Iterable[str]) -> list[type[M]]:
    """Return the classes of those names, in their order; "all" and "none" alone mean that."""
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if wanted == [ALL]:
        return list(family.all().values())
    return [] if wanted == [NONE] else [family.get(name) for name in wanted]


def made(cls: type[M], values: Mapping[str, Any], name: str = "") -> M:
    """Return a method with its parameters; raise UsageError if one does not exist or fit.

    Args:
        cls: that has the parameters.
        values: by name.
        name: what the parameters are of; default the method's.
    """
    name = name or about(cls).name
    for key in values:
        if key not in cls.model_fields:
            raise unknown(f"parameter of {name}", key, cls.model_fields)
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"parameters of {name} do not fit: {one_line(error)}") from error


def check_names(noun: str, given: Iterable[str], chosen: Iterable[type[BaseModel]], known: Iterable[str]) -> None:
    """Refuse parameters of what does not exist or was not chosen."""
    names, known = [about(cls).name for cls in chosen], list(known)
    for name in given:
        if name not in known:
            raise unknown(noun, name, known)
        if name not in names:
            raise UsageError(f"parameters were given for {name}, which is not among those chosen: {', '.join(names)}")


def beyond(method: Method, model: Model) -> str:
    """Return why a method that needs more than outputs cannot run on a black box, or ""."""
    if model.graph is not None or not method.needs & {Need.GRAPH, Need.GRADIENTS}:
        return ""
    needs = " and ".join(sorted(method.needs))
    return f"it needs {needs}, and the model is a black box: {model.no_graph}"


def about(cls: type[Any]) -> Method:
    """Return what a class says of itself."""
    declared: Method = cls.about
    return declared
