"""What was asked, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from xai.errors import UsageError, unknown
from xai.explainers.base import Explainer, explainers
from xai.models.card import one_line
from xai.models.model import Model
from xai.registry import Need

Parameters = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ExplainPlan:
    """Which methods explain which target.

    Args:
        methods: with their parameters.
        target: a class's name or index; None for the predicted one.
    """

    methods: tuple[Explainer, ...]
    target: str | int | None


def plan_explain(
    model: Model,
    methods: Iterable[str] | None = None,
    target: str | int | None = None,
    layer: str | None = None,
    parameters: Parameters | None = None,
) -> ExplainPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: what is to be explained.
        methods: names; default those that declare themselves default.
        target: a class's name or index.
        layer: for every chosen method that looks at a layer.
        parameters: by method and name.
    """
    known = explainers.all()
    names = (
        list(dict.fromkeys(methods))
        if methods is not None
        else [name for name, cls in known.items() if cls.about.default]
    )
    given = {name: dict(values) for name, values in (parameters or {}).items()}
    for name in given:
        if explainers.get(name) and name not in names:
            raise UsageError(f"parameters were given for {name}, which is not among the methods: {', '.join(names)}")
    classes = [explainers.get(name) for name in names]
    if layer is not None:
        looking = [cls.about.name for cls in classes if "layer" in cls.model_fields]
        if not looking:
            raise UsageError(f"--layer was given, and none of the methods looks at a layer: {', '.join(names)}")
        for name in looking:
            given.setdefault(name, {})["layer"] = layer
    plan = ExplainPlan(tuple(_made(cls, given.get(cls.about.name, {})) for cls in classes), target)
    for method in plan.methods:
        method.check(model)
    if target is not None:
        model.target(target)
    return plan


def missing(method: Explainer, model: Model) -> str:
    """Return why a method cannot run on this model, or ""."""
    if model.graph is None and method.about.needs & {Need.GRAPH, Need.GRADIENTS}:
        needs = " and ".join(sorted(method.about.needs))
        return f"{method.about.title} needs {needs}, and the model is a black box: {model.no_graph}"
    return ""


def _made(cls: type[Explainer], values: Mapping[str, Any]) -> Explainer:
    for key in values:
        if key not in cls.model_fields:
            raise unknown(f"parameter of {cls.about.name}", key, cls.model_fields)
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"parameters of {cls.about.name} do not fit: {one_line(error)}") from error
