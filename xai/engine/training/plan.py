"""What a training is asked: the objective, how, and by which attacks its outcome is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from xai.engine.choice import Parameters, beyond, check_names, made
from xai.engine.enclosure import BoundsPlan, plan_bounds
from xai.engine.threat import AttackPlan, plan_attack, read_norm
from xai.errors import NotApplicableError, UsageError, unknown
from xai.models.card import one_line
from xai.models.model import Model
from xai.robustness.norms import Norm
from xai.robustness.regions import read_epsilon
from xai.robustness.training.objectives.base import Objective, objectives
from xai.robustness.training.trainer import Recipe

ATTACKS = ("apgd-ce", "apgd-dlr")  # by which the outcome is measured, where no plan is named


@dataclass(frozen=True)
class TrainPlan:
    """What is asked.

    Args:
        objective: what is minimised.
        recipe: how.
        norm: of the change that the network is to withstand.
        written: the size of the change as the user wrote it, "" for none.
        epsilon: that size in input units, 0 for none.
        layers: that alone are trained; none for all.
        attack: the name of a plan of attacks that measures the outcome, None for the quick ones.
        scratch: whether the first weights are drawn anew.
    """

    objective: Objective
    recipe: Recipe
    norm: Norm
    written: str
    epsilon: float
    layers: tuple[str, ...]
    attack: str | None
    scratch: bool

    def attacking(self, model: Model) -> AttackPlan:
        """Return the attacks that measure a model."""
        sizes = [self.written] if self.epsilon else None
        names = None if self.attack else [name for name in ATTACKS if len(model.answers) > 2 or name != "apgd-dlr"]
        return plan_attack(model, names, plan=self.attack, norm=self.norm.value, epsilons=sizes, alarms=["none"])

    def bounding(self, model: Model) -> BoundsPlan | None:
        """Return the bounds that measure a model that was trained for them."""
        if self.objective.watched != "certified":
            return None
        return plan_bounds(model, [self.written], norm=self.norm.value, method="ibp")

    def described(self) -> dict[str, Any]:
        """Return the plan as data: the same plan, the same data."""
        return {
            "objective": self.objective.about.name,
            **self.objective.model_dump(mode="json"),
            **self.recipe.model_dump(mode="json"),
            "norm": self.norm.value,
            "epsilon": self.epsilon,
            "layers": list(self.layers),
            "attack": self.attack,
            "scratch": self.scratch,
        }


def plan_train(
    model: Model,
    objective: str = "standard",
    *,
    norm: str = "linf",
    eps: str | float | None = None,
    recipe: Mapping[str, Any] | None = None,
    layers: Iterable[str] = (),
    attack: str | None = None,
    scratch: bool = False,
    parameters: Parameters | None = None,
) -> TrainPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: what is trained.
        objective: "standard", "adversarial", "trades" or "certified".
        norm: of the change: "linf", "l2" or "l1".
        eps: its size in input units, "8/255" or a number; plain training is measured by it, if it is given.
        recipe: epochs, batch, lr, weight_decay, clip, patience, as far as they are not the default.
        layers: that alone are trained; default all.
        attack: a named plan of attacks that measures the outcome; default the two quick ones of `ATTACKS`.
        scratch: whether the first weights are drawn anew.
        parameters: of the objective, by its name: {"adversarial": {"steps": 10}}.
    """
    chosen = objectives.get(objective)
    check_names("objective", parameters or {}, [chosen], objectives.all())
    asked = made(chosen, (parameters or {}).get(objective, {}))
    epsilon = _size(asked, eps)
    given = read_norm(norm)
    if asked.norms and given not in asked.norms:
        raise unknown(f"norm of {objective} training", norm, [one.value for one in asked.norms])
    if model.card.output == "values":
        raise UsageError("training is of a classifier: this model's outputs are values")
    if reason := beyond(asked.about, model):
        raise NotApplicableError(f"{asked.about.title}: {reason}")
    plan = TrainPlan(
        asked, _recipe(recipe or {}), given, str(eps) if epsilon else "", epsilon, tuple(layers), attack, scratch
    )
    plan.attacking(model)  # what is wrong with it is told before hours of training
    if (bounded := plan.bounding(model)) and bounded.hindrance:
        raise NotApplicableError(f"{asked.about.title}: the network cannot be bounded: {bounded.hindrance}")
    return plan


def _size(objective: Objective, eps: str | float | None) -> float:
    if eps is None:
        if objective.norms:
            raise UsageError(
                f"{objective.about.title} needs the size of the change that the network is to withstand: give --eps, "
                "such as 8/255 or 0.1"
            )
        return 0.0
    epsilon = read_epsilon(eps)
    if objective.norms and not epsilon:
        raise UsageError(f"eps {eps!r}: expected a size above 0; without one take --objective standard")
    return epsilon


def _recipe(values: Mapping[str, Any]) -> Recipe:
    for name in values:
        if name not in Recipe.model_fields:
            raise unknown("option of the training", name, Recipe.model_fields)
    try:
        return Recipe.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise UsageError(f"options of the training do not fit: {one_line(error)}") from error
