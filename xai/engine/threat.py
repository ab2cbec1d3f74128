"""What an attack is allowed: which attacks, in which region, toward what; checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xai.engine.alarms import check_surrogate, plan_alarms
from xai.engine.choice import DEFAULT, Parameters, beyond, check_names, defaults, made, named
from xai.errors import NotApplicableError, UsageError, unknown
from xai.models.model import Model
from xai.models.targets import find_target
from xai.registry import Need
from xai.robustness.alarms.base import Alarm
from xai.robustness.attacks.base import Attack, attacks
from xai.robustness.corruptions.base import SEVERITIES, Corruption, corruptions
from xai.robustness.norms import Norm, diameter
from xai.robustness.regions import Region, read_epsilon
from xai.robustness.victim import Victim

SIZES = ("1/255", "2/255", "4/255", "8/255")


class NoneFitsError(UsageError):
    """None of the attacks that were named can be tried on the model."""


@dataclass(frozen=True)
class AttackPlan:
    """The threat model.

    Args:
        attacks: in order: each is tried on what those before it left standing.
        skipped: attacks that do not apply to the model, and why.
        norm: of the change.
        epsilons: its largest sizes by name ("8/255"), ascending, in input units.
        wanted: the class that the attacker wants; None for any other than the right one.
        minima: whether attacks that look for the smallest change use all their steps.
        name: of the plan, "" for a plan of the user's own.
        corruptions: what happens to inputs without an attacker, a severity each, with the reason why it cannot be
            tried, or "".
        alarms: that say whether the answer can be believed; they do not change it.
        surrogate: another model for the same task, which some of them use.
    """

    attacks: tuple[Attack, ...]
    skipped: tuple[tuple[Attack, str], ...]
    norm: Norm
    epsilons: Mapping[str, float]
    wanted: int | None
    minima: bool
    name: str
    corruptions: tuple[tuple[Corruption, str], ...] = ()
    alarms: tuple[Alarm, ...] = ()
    surrogate: Model | None = None

    def region(self, model: Model, epsilon: float) -> Region:
        """Return the ball of that size, clipped to the model's range."""
        low, high = model.input.range or (-math.inf, math.inf)
        return Region(self.norm, epsilon, low, high)

    def sizes(self, attack: Attack) -> list[tuple[str, float]]:
        """Return the regions that an attack is tried in; one that looks for the smallest change needs no limit."""
        if attack.minimal:
            return [("", math.inf)]
        return [(name, size) for name, size in self.epsilons.items() if size > 0]

    @property
    def enough(self) -> float:
        """How near a point must be for a search of the smallest change to end: 0 lets it use all its steps."""
        return 0.0 if self.minima else min((size for size in self.epsilons.values() if size > 0), default=0.0)

    @property
    def farthest(self) -> float:
        """How far a point may lie to count at all."""
        return math.inf if self.minima else max(self.epsilons.values(), default=math.inf)

    def described(self) -> dict[str, Any]:
        """Return the plan as data: the same plan, the same data."""
        return {
            "plan": self.name,
            "attacks": {attack.about.name: attack.model_dump(mode="json") for attack in self.attacks},
            "norm": self.norm.value,
            "epsilons": dict(self.epsilons),
            "wanted": self.wanted,
            "minima": self.minima,
            "corruptions": [[one.about.name, one.model_dump(mode="json")] for one, _ in self.corruptions],
        }


def plan_attack(
    model: Model,
    names: Iterable[str] | None = None,
    *,
    plan: str | None = None,
    norm: str = "linf",
    epsilons: Iterable[str | float] | None = None,
    target: str | int | None = None,
    parameters: Parameters | None = None,
    corrupted_by: Iterable[str] | None = None,
    severities: Iterable[int] = SEVERITIES,
    alarms: Iterable[str] | None = None,
    surrogate: Model | None = None,
) -> AttackPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: what is to be attacked.
        names: of attacks, "all" or "none"; default those that declare themselves default.
        plan: a named plan instead: a set of attacks that its paper calls by that name.
        norm: "linf", "l2" or "l1".
        epsilons: sizes of the change, "8/255" or numbers; default 1, 2, 4 and 8/255 of the range for linf. An attack
            that looks for the smallest change needs none.
        target: the class that is wanted; default any but the right one.
        parameters: of attacks, corruptions and alarms, by name.
        corrupted_by: names of corruptions, "all" or "default"; default none.
        severities: of the corruptions, 1 to 5.
        alarms: names, "all" or "none"; default those that declare themselves default.
        surrogate: another model for the same task.
    """
    given = read_norm(norm)
    if plan is not None and names is not None:
        raise UsageError("attacks and a plan were named; name one of them")
    chosen = _planned(plan) if plan is not None else _chosen(names)
    listened, others = plan_alarms(alarms, parameters or {})
    check_surrogate(model, surrogate)
    damaging = _damaging(corrupted_by)
    check_names("attack or corruption", others, [*chosen, *damaging], [*attacks.all(), *corruptions.all()])
    _check_mapping(parameters or {})
    preset = {cls.about.name: cls.planned.get((plan or "", given), {}) for cls in chosen}
    attacking = [made(cls, {**preset[cls.about.name], **others.get(cls.about.name, {})}) for cls in chosen]
    worse = _severe(damaging, severities, others, model)
    if not attacking and not worse:
        raise UsageError("neither an attack nor a corruption was named: there is nothing to do")
    if not attacking:
        if epsilons is not None or target is not None:
            raise UsageError("a size of the change or a target was given, and no attack was named that could use it")
        return AttackPlan((), (), given, {}, None, minima=False, name="", corruptions=worse)
    minimal = epsilons is None and all(attack.minimal for attack in attacking)
    sizes = {} if minimal else read_sizes(model, given, epsilons)
    wanted = None if target is None else find_target(target, model.answers).index
    fit, skipped = [], []
    for attack in attacking:
        reason = hindrance(attack, model, given, targeted=wanted is not None)
        if reason:
            skipped.append((attack, reason))
        else:
            fit.append(attack)
    if not fit:
        raise NoneFitsError(
            "none of the attacks can be tried: "
            f"{'; '.join(f'{attack.about.title}: {reason}' for attack, reason in skipped)}{_other(model)}"
        )
    minima = epsilons is None and any(attack.minimal for attack in fit)
    return AttackPlan(tuple(fit), tuple(skipped), given, sizes, wanted, minima, plan or "", worse, listened, surrogate)


def _check_mapping(parameters: Parameters) -> None:
    for name, values in parameters.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"parameters of {name}: expected names with their values, received {values!r}")


def plans() -> list[str]:
    """Return the names of the plans that attacks declare."""
    return sorted({name for cls in attacks.all().values() for name in cls.about.sets})


def _planned(plan: str) -> list[type[Attack]]:
    if plan not in plans():
        raise unknown("plan", plan, plans())
    members = [cls for cls in attacks.all().values() if plan in cls.about.sets]
    return sorted(members, key=lambda cls: cls.about.sets[plan])


def _chosen(names: Iterable[str] | None) -> list[type[Attack]]:
    if names is None:
        return defaults(attacks)
    wanted = list(names)
    if not wanted:
        raise UsageError("no attack was named; see xai methods")
    return named(attacks, wanted)


def _damaging(names: Iterable[str] | None) -> list[type[Corruption]]:
    wanted = [] if names is None else list(names)
    return defaults(corruptions) if wanted == [DEFAULT] else named(corruptions, wanted)


def _severe(
    chosen: list[type[Corruption]], severities: Iterable[int], parameters: Parameters, model: Model
) -> tuple[tuple[Corruption, str], ...]:
    """Return each corruption at each severity, and why it cannot be tried."""
    found = []
    for cls in chosen:
        for severity in dict.fromkeys(severities):
            one = made(cls, {**parameters.get(cls.about.name, {}), "severity": severity})
            try:
                one.applies(model.input)
            except NotApplicableError as error:
                found.append((one, str(error)))
            else:
                found.append((one, ""))
    return tuple(found)


def hindrance(attack: Attack, model: Model, norm: Norm, *, targeted: bool) -> str:
    """Return why an attack cannot be tried, or ""."""
    if reason := beyond(attack.about, model):
        return reason
    try:
        attack.applies(Victim(model).classes, norm, targeted=targeted)
    except NotApplicableError as error:
        return str(error)
    return ""


def _other(model: Model) -> str:
    """Return what a black box can be attacked with."""
    if model.graph is not None:
        return ""
    free = [name for name, cls in attacks.all().items() if not cls.about.needs & {Need.GRADIENTS, Need.GRAPH}]
    return f"; without gradients there is: {', '.join(free)}"


def read_norm(name: str) -> Norm:
    """Return the norm of that name; raise UsageError if there is none."""
    if name not in tuple(Norm):
        raise unknown("norm", name, [known.value for known in Norm])
    return Norm(name)


def read_sizes(model: Model, norm: Norm, epsilons: Iterable[str | float] | None) -> dict[str, float]:
    """Return sizes of a change by name, ascending; default 1, 2, 4 and 8/255 of the range for linf.

    Raises:
        UsageError: one is no size, or allows every input, or there is no default.
    """
    if epsilons is None:
        if norm is not Norm.LINF or model.input.range is None:
            raise UsageError(f"no size of the change was given: name one in the norm {norm}, such as --eps 0.5")
        low, high = model.input.range
        return {
            name if high - low == 1 else f"{name} of the range": read_epsilon(name) * (high - low) for name in SIZES
        }
    given = {str(text).strip(): read_epsilon(text) for text in epsilons}
    if not given:
        raise UsageError("no size of the change was given; expected some, such as --eps 2/255,8/255")
    for text, value in given.items():
        _check_within(model, norm, text, value)
    return dict(sorted(given.items(), key=lambda item: item[1]))


def _check_within(model: Model, norm: Norm, text: str, value: float) -> None:
    """Refuse a size that allows every input: it is a mistake of units."""
    if model.input.range is None:
        return
    low, high = model.input.range
    largest = diameter(high - low, math.prod(model.input.shape), norm)
    if value > largest:
        near = f"; {text}/255 was meant?" if norm is Norm.LINF and value <= 255 * largest and "/" not in text else ""
        raise UsageError(
            f"epsilon {text} allows every input: values go from {low:g} to {high:g}, so in {norm} nothing is farther "
            f"than {largest:g}{near}"
        )
