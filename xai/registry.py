"""Families of methods: each is a folder with one base file and one file a method, found by walking that folder.

A method is declared once, in its own file, by a `Method`; the command line, the validation, the documentation and the
reports read that declaration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from xai.errors import unknown

T = TypeVar("T")


class Kind(StrEnum):
    """How much an answer is worth."""

    EXACT = "exact"
    SOUND = "sound"
    STATISTICAL = "statistical"
    HEURISTIC = "heuristic"


class Need(StrEnum):
    """What a method needs of the model beyond its outputs."""

    GRADIENTS = "gradients"
    GRAPH = "graph"


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method says of itself.

    Args:
        name: how it is called on the command line, from the paper's name.
        title: the name as the paper writes it.
        summary: one sentence: what its answer means.
        limits: what its answer does not mean.
        source: authors, year, title.
        kind: how much its answer is worth.
        needs: what it asks of the model beyond outputs.
        default: whether it runs when no method is named.
        sets: named plans that it belongs to, and its place in each.
    """

    name: str
    title: str
    summary: str
    limits: str
    source: str
    kind: Kind
    needs: frozenset[Need] = frozenset()
    default: bool = False
    sets: Mapping[str, int] = field(default_factory=dict)


class Family(Generic[T]):
    """The classes that stand in the files of one package, by name.

    Args:
        noun: what one of them is called in messages ("method").
        package: dotted name of the folder's package.
        base: their base class.
        key: gives a class's name.
    """

    def __init__(self, noun: str, package: str, base: type[T], key: Callable[[type[T]], str]) -> None:
        self.noun = noun
        self._package = package
        self._base = base
        self._key = key

    def all(self) -> dict[str, type[T]]:
        """Return every class of the family by name, in the order of names."""
        package = importlib.import_module(self._package)
        modules = [
            importlib.import_module(f"{self._package}.{entry.name}") for entry in pkgutil.iter_modules(package.__path__)
        ]
        return dict(sorted((self._key(leaf), leaf) for module in modules for leaf in self._leaves(module.__name__)))

    def get(self, name: str) -> type[T]:
        """Return the class of that name; raise UsageError with near matches if there is none."""
        known = self.all()
        if name not in known:
            raise unknown(self.noun, name, known)
        return known[name]

    def _leaves(self, module_name: str) -> list[type[T]]:
        """Return the concrete subclasses of the base that are defined in that module."""
        values = vars(importlib.import_module(module_name)).values()
        return [
            value
            for value in values
            if isinstance(value, type)
            and issubclass(value, self._base)
            and value.__module__ == module_name
            and not getattr(value, "__abstractmethods__", None)
        ]
