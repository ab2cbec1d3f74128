"""The fields of a policy; every field says what it is. `xai config schema` prints their JSON Schema."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from xai.reports.policy.expression import (
    Demand,
    ExpressionError,
    Metric,
    percent,
    read_bound,
    read_confidence,
    read_demand,
    read_metric,
    read_number,
)
from xai.reports.policy.metrics import better, check, check_threshold
from xai.reports.records import Severity

MOST = 1000  # requirements
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def _text(value: Any) -> Any:
    """Take a number for the text that it was: a policy made in Python may hold numbers."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _size(value: Any) -> Any:
    text = _text(value)
    if isinstance(text, str):
        number = read_number(text)
        if number < 0 or "%" in text:
            raise ValueError(f"expected a size that is not negative, such as 2/255 or 0.03, received {text!r}")
        text = re.sub(r"\s", "", text)
    return text


def _architecture(value: str) -> str:
    if not value.startswith(("torchvision:", "timm:", "sample:")):
        raise ValueError(
            f"expected torchvision:NAME, timm:NAME or sample:NAME, received {value[:60]!r}; code is never run because "
            "a policy asks for it: name it yourself with --arch"
        )
    return value


def _confidence(value: Any) -> Any:
    text = _text(value)
    return percent(read_confidence(text)) if isinstance(text, str) else text


def _source(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


def _identifier(value: Any) -> Any:
    text = _text(value)
    if isinstance(text, str) and not _ID.fullmatch(text):
        raise ValueError(f"expected up to 40 letters, digits, '.', '-' and '_', received {text[:60]!r}")
    return text


_WRITTEN = WithJsonSchema({"type": ["string", "number"]})
Text = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=20_000)]
Amount = Annotated[str, BeforeValidator(_text), Field(max_length=200), _WRITTEN]
Size = Annotated[str, BeforeValidator(_size), _WRITTEN]
Confidence = Annotated[str, BeforeValidator(_confidence), _WRITTEN]
Architecture = Annotated[str, AfterValidator(_architecture), Field(max_length=2000)]
Count = Annotated[int, Field(ge=0, le=1000)]


class Fields(BaseModel):
    """The base of all parts of a policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OrText(Fields):
    """Fields that one text can stand for."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(core))]}


class Subject(Fields):
    """The model, and what it is for."""

    source: Text = Field(description="a file, a folder holding one, torchvision:NAME, timm:NAME or sample:NAME")
    arch: Architecture | None = Field(
        default=None, description="for a file of weights: torchvision:, timm: or sample:NAME"
    )
    card: Text | None = Field(default=None, description="the model's card; default <stem>.yaml or model.yaml beside it")
    intended_use: Text = Field(description="what it is to be used for, by whom")
    not_for: str = Field(default="", description="what it must not be used for")


class Domain(Fields):
    """The operational domain: where the model is to work."""

    description: Text = Field(description="the conditions under which it is to work")
    conditions: tuple[Text, ...] = Field(default=(), description="one by one: light, sensor, population, ...")


class Threat(Fields):
    """What may happen to an input."""

    norm: Literal["linf", "l2", "l1"] = Field(default="linf", description="how a change is measured")
    epsilons: tuple[Size, ...] = Field(
        default=(), max_length=32, description="largest changes, in input units: 1/255 or 0.03"
    )
    plan: Text = Field(default="standard", description="the named set of attacks")


class Verification(Fields):
    """How long is looked for a proof."""

    seconds: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=10.0, description="for each image and size of the change, and for each property"
    )


class Source(OrText):
    """A set of data; its place alone stands for it."""

    source: Text = Field(description="a folder, a CSV or JSON manifest, .npz, idx files or sample:NAME")
    labels: Text | None = Field(default=None, description="a file with a label each, for arrays without")
    limit: Annotated[int, Field(ge=1)] | None = Field(default=None, description="take only so many images")


Place = Annotated[Source, BeforeValidator(_source)]


class Data(Fields):
    """The data, by role."""

    test: Place = Field(description="what requirements are measured on; the model has not seen it")
    calibration: Place | None = Field(default=None, description="what temperature and detectors are fitted on")
    ood: dict[str, Place] = Field(default={}, description="what the model was not trained for, by name")
    groups: tuple[Text, ...] = Field(default=(), description="groups that the test data must hold")


class Requirement(OrText):
    """What must hold: `require`, or `metric` and `threshold`."""

    id: Annotated[str, BeforeValidator(_identifier), _WRITTEN] = Field(
        default="", description="unique; default R1, R2, ..."
    )
    text: str = Field(default="", max_length=2000, description="what is required, in plain words")
    require: Text | None = Field(default=None, description="accuracy >= 95 % with 95 % confidence")
    metric: Text | None = Field(default=None, description="certified_accuracy(linf, 1/255)")
    threshold: Amount | None = Field(
        default=None, description=">= 0.8; a number alone where it is known what is better"
    )
    confidence: Confidence | None = Field(default=None, description="above 50 % and below 100 %; default the policy's")
    severity: Severity = Field(default="must", description="must, should or may")
    clauses: tuple[Text, ...] = Field(default=(), description="<profile> <clause> that it serves: eu-ai-act 15(1)")

    @model_validator(mode="before")
    @classmethod
    def _accept_a_text(cls, data: Any) -> Any:
        return {"require": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.demand()
        return self

    def demand(self) -> Demand:
        """Return what is required, with its own confidence if it has one."""
        if (self.require is None) == (self.metric is None):
            raise ValueError("expected either require: METRIC >= NUMBER, or metric and threshold")
        if (self.threshold is None) != (self.metric is None):
            raise ValueError("expected a threshold beside metric, and none beside require")
        demand = read_demand(self.require) if self.require is not None else self._from_parts()
        check(demand.metric)
        check_threshold(demand.metric, demand.threshold)
        if self.confidence is None:
            return demand
        own = read_confidence(self.confidence)
        if demand.as_measured or demand.confidence not in (None, own):
            raise ValueError(f"the requirement says it with {self.confidence} confidence, and otherwise: keep one")
        return demand.surely(own)

    def _from_parts(self) -> Demand:
        metric, threshold = read_metric(str(self.metric)), str(self.threshold)
        check(metric)
        if threshold.lstrip()[:1] in "<>=≤≥":
            return read_bound(metric, threshold)
        known = {"more": ">=", "less": "<="}.get(better(metric))
        if known is None:
            raise ExpressionError(f"expected a comparison before {threshold!r}, such as >= {threshold}")
        return read_bound(metric, f"{known} {threshold}")


class Explanations(Fields):
    """Which images are explained, and how."""

    methods: tuple[Text, ...] = Field(default=(), description="explainers; default those that xai explain runs")
    right: Count = Field(default=2, description="how many images with a right answer")
    wrong: Count = Field(default=2, description="how many with a wrong one, the surest first")
    least_sure: Count = Field(default=2, description="how many of the least sure")
    most_attacked: Count = Field(default=2, description="how many of those that the least change breaks")


class Policy(Fields):
    """An audit's policy: said before anything is measured."""

    model: Subject = Field(description="the model, and what it is for")
    domain: Domain | None = Field(default=None, description="where it is to work")
    threat: Threat = Field(default=Threat(), description="what may happen to an input")
    data: Data = Field(description="the data, by role")
    confidence: Confidence = Field(default="95 %", description="of every requirement that names none")
    requirements: tuple[Requirement, ...] = Field(min_length=1, max_length=MOST, description="what must hold")
    properties: Text | None = Field(
        default=None, description="a YAML file of properties, each of which is decided: docs/properties.md"
    )
    verification: Verification = Field(default=Verification(), description="how long is looked for a proof")
    explanations: Explanations | None = Field(default=None, description="which images are explained; null for none")
    profiles: tuple[Text, ...] = Field(default=(), description="standards, by name, or a YAML file of your own")

    @model_validator(mode="after")
    def _name_requirements(self) -> Self:
        taken = {one.id for one in self.requirements if one.id}
        for name, count in Counter(one.id for one in self.requirements if one.id).items():
            if count > 1:
                raise ValueError(f"{count} requirements have the id {name!r}: each needs its own")
        named = []
        for number, one in enumerate(self.requirements, 1):
            own = one.id or next(
                f"R{number}{'x' * more}" for more in range(99) if f"R{number}{'x' * more}" not in taken
            )
            named.append(one.model_copy(update={"id": own}))
        object.__setattr__(self, "requirements", tuple(named))  # the model is frozen from here on
        return self

    def demands(self) -> dict[str, Demand]:
        """Return what is required, by id, each with its confidence, the groups that must be there, and its norm."""
        sure = read_confidence(self.confidence)
        return {one.id: self._filled(one.demand()).surely(sure) for one in self.requirements}

    def _filled(self, demand: Demand) -> Demand:
        """Say what a metric leaves to the rest of the policy."""
        name, given = demand.metric.name, demand.metric.arguments
        if name == "worst_group_accuracy" and not given:
            return replace(demand, metric=Metric(name, self.data.groups))
        if name == "verified_accuracy" and len(given) == 1:
            return replace(demand, metric=Metric(name, (self.threat.norm, *given)))
        return demand
