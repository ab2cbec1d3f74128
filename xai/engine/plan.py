"""What was asked, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from xai.errors import NotApplicableError, UsageError, unknown
from xai.explainers.base import Explainer, explainers
from xai.measures.base import Measure, measures
from xai.models.card import one_line
from xai.models.model import Model
from xai.registry import Family, Need
from xai.reports.records import AnalysisRecord

Parameters = Mapping[str, Mapping[str, Any]]
ALL, NONE = "all", "none"
M = TypeVar("M", Explainer, Measure)


@dataclass(frozen=True)
class ExplainPlan:
    """Which methods explain which targets, and which measures judge the maps.

    Args:
        methods: with their parameters.
        measures: with their parameters.
        target: a class's name or index; None for the highest outputs.
        top: how many of the highest outputs.
    """

    methods: tuple[Explainer, ...]
    measures: tuple[Measure, ...]
    target: str | int | None
    top: int


def plan_explain(
    model: Model,
    methods: Iterable[str] | None = None,
    target: str | int | None = None,
    layer: str | None = None,
    parameters: Parameters | None = None,
    measures_named: Iterable[str] | None = None,
    top: int | None = None,
) -> ExplainPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: what is to be explained.
        methods: names, or "all"; default those that declare themselves default.
        target: a class's name or index.
        layer: for every chosen method that looks at a layer.
        parameters: of methods and measures, by name.
        measures_named: names, "all" or "none"; default those that declare themselves default.
        top: how many of the highest outputs are explained; default one.
    """
    if target is not None and top is not None:
        raise UsageError("a target and a number of highest outputs were given; name one of them")
    if top is not None and not 1 <= top <= len(model.classes):
        raise UsageError(f"the {top} highest outputs were asked for; the model has {len(model.classes)}")
    chosen = _chosen(explainers, methods)
    judging = _chosen(measures, measures_named)
    if not chosen:
        raise UsageError("no method was named; see xai methods")
    given = {name: dict(values) for name, values in (parameters or {}).items()}
    _check_names(given, [*chosen, *judging])
    if layer is not None:
        looking = [cls.about.name for cls in chosen if "layer" in cls.model_fields]
        if not looking:
            names = ", ".join(cls.about.name for cls in chosen)
            raise UsageError(f"--layer was given, and none of the methods looks at a layer: {names}")
        for name in looking:
            given.setdefault(name, {})["layer"] = layer
    plan = ExplainPlan(
        tuple(_made(cls, given.get(cls.about.name, {})) for cls in chosen),
        tuple(_made(cls, given.get(cls.about.name, {})) for cls in judging),
        target,
        top or 1,
    )
    asked: list[Explainer | Measure] = [*plan.methods, *plan.measures]
    for one in asked:
        if not _inapplicable(one, model):
            one.check(model)
    if target is not None:
        model.target(target)
    return plan


def missing(one: Explainer | Measure, model: Model) -> str:
    """Return why a method or measure cannot run on this model, whatever the input, or ""."""
    about = one.about
    if model.graph is None and about.needs & {Need.GRAPH, Need.GRADIENTS}:
        needs = " and ".join(sorted(about.needs))
        return f"{about.title} needs {needs}, and the model is a black box: {model.no_graph}"
    return _inapplicable(one, model)


def _inapplicable(one: Explainer | Measure, model: Model) -> str:
    try:
        one.applies(model)
    except NotApplicableError as error:
        return str(error)
    return ""


def analyses(model: Model) -> tuple[AnalysisRecord, ...]:
    """Return which methods and measures there are, and why some cannot run on this model as they are by default."""
    known: list[tuple[str, Explainer | Measure]] = [(cls.family, cls()) for cls in explainers.all().values()]
    known += [(measures.noun, cls()) for cls in measures.all().values()]
    return tuple(
        AnalysisRecord(family=family, method=one.about.name, title=one.about.title, reason=_hindrance(one, model))
        for family, one in known
    )


def _hindrance(one: Explainer | Measure, model: Model) -> str:
    """Return why a method or measure cannot run, or "": what is missing, or a default that does not fit."""
    if reason := missing(one, model):
        return reason
    try:
        one.check(model)
    except UsageError as error:
        return str(error)
    return ""


def _chosen(family: Family[M], names: Iterable[str] | None) -> list[type[M]]:
    """Return the classes of those names, in their order."""
    known = family.all()
    if names is None:
        return [cls for cls in known.values() if cls.about.default]
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if wanted == [ALL]:
        return list(known.values())
    return [] if wanted == [NONE] else [family.get(name) for name in wanted]


def _check_names(given: Mapping[str, object], chosen: Iterable[type[Explainer] | type[Measure]]) -> None:
    """Refuse parameters of what does not exist or was not chosen."""
    names = [cls.about.name for cls in chosen]
    known = [*explainers.all(), *measures.all()]
    for name in given:
        if name not in known:
            raise unknown("method or measure", name, known)
        if name not in names:
            raise UsageError(f"parameters were given for {name}, which is not among those chosen: {', '.join(names)}")


def _made(cls: type[M], values: Mapping[str, Any]) -> M:
    for key in values:
        if key not in cls.model_fields:
            raise unknown(f"parameter of {cls.about.name}", key, cls.model_fields)
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"parameters of {cls.about.name} do not fit: {one_line(error)}") from error
