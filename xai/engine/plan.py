"""What was asked, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xai.engine.choice import Parameters, beyond, check_names, defaults, made, named
from xai.errors import NotApplicableError, UsageError
from xai.explainers.base import Explainer, explainers
from xai.measures.base import Measure, measures
from xai.models.model import Model
from xai.models.targets import check_against


@dataclass(frozen=True)
class ExplainPlan:
    """Which methods explain which targets, and which measures judge the maps.

    Args:
        methods: with their parameters.
        measures: with their parameters.
        target: a class's name or index; None for the highest outputs.
        top: how many of the highest outputs.
        against: the class that is taken away from it, or a word for the highest other; None for none.
    """

    methods: tuple[Explainer, ...]
    measures: tuple[Measure, ...]
    target: str | int | None
    top: int
    against: str | int | None = None


def plan_explain(
    model: Model,
    methods: Iterable[str] | None = None,
    target: str | int | None = None,
    layer: str | None = None,
    parameters: Parameters | None = None,
    measures_named: Iterable[str] | None = None,
    top: int | None = None,
    against: str | int | None = None,
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
        against: what is taken away from the target: a class's name or index, or "next", the highest other output.
    """
    _check_targets(model, target, top, against)
    chosen = defaults(explainers) if methods is None else named(explainers, methods)
    judging = defaults(measures) if measures_named is None else named(measures, measures_named)
    if not chosen:
        raise UsageError("no method was named; see xai methods")
    given = {name: dict(values) for name, values in (parameters or {}).items()}
    check_names("method or measure", given, [*chosen, *judging], [*explainers.all(), *measures.all()])
    if layer is not None:
        looking = [cls.about.name for cls in chosen if "layer" in cls.model_fields]
        if not looking:
            names = ", ".join(cls.about.name for cls in chosen)
            raise UsageError(f"--layer was given, and none of the methods looks at a layer: {names}")
        for name in looking:
            given.setdefault(name, {})["layer"] = layer
    plan = ExplainPlan(
        tuple(made(cls, given.get(cls.about.name, {})) for cls in chosen),
        tuple(made(cls, given.get(cls.about.name, {})) for cls in judging),
        target,
        top or 1,
        against,
    )
    asked: list[Explainer | Measure] = [*plan.methods, *plan.measures]
    for one in asked:
        if not _inapplicable(one, model):
            one.check(model)
    return plan


def _check_targets(model: Model, target: str | int | None, top: int | None, against: str | int | None) -> None:
    if target is not None and top is not None:
        raise UsageError("a target and a number of highest outputs were given; name one of them")
    if top is not None and not 1 <= top <= len(model.classes):
        raise UsageError(f"the {top} highest outputs were asked for; the model has {len(model.classes)}")
    if against is not None and top is not None:
        raise UsageError("a number of highest outputs and what stands against them were given; name one of them")
    if target is not None:
        model.target(target)
    if against is not None:
        check_against(against, model.classes, target)


def missing(one: Explainer | Measure, model: Model) -> str:
    """Return why a method or measure cannot run on this model, whatever the input, or ""."""
    return beyond(one.about, model) or _inapplicable(one, model)


def _inapplicable(one: Explainer | Measure, model: Model) -> str:
    try:
        one.applies(model)
    except NotApplicableError as error:
        return str(error)
    return ""


def hindrance(one: Explainer | Measure, model: Model) -> str:
    """Return why a method or measure cannot run, or "": what is missing, or a default that does not fit."""
    if reason := missing(one, model):
        return reason
    try:
        one.check(model)
    except UsageError as error:
        return str(error)
    return ""
