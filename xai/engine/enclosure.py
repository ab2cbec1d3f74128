"""What bounds are asked for: region, method, numbers, layer, and the attack they stand beside; checked beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from xai.engine.choice import NONE, Parameters, beyond
from xai.engine.threat import AttackPlan, plan_attack, plans, read_norm, read_sizes
from xai.errors import AnalysisError, UsageError, unknown
from xai.models.model import Model
from xai.registry import Method
from xai.robustness.bounds.limits import TooLargeError, check_fits, needed_bytes
from xai.robustness.bounds.methods.base import Bounder, bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import diameter
from xai.robustness.smoothing.certify import ABOUT

SMOOTHING = ABOUT.name

MOST_NUMBERS = 4096  # that are bounded one by one: each costs a pass backwards
BATCH_BYTES = 256 * 2**20  # what the boxes of the inputs that are bounded together may take
REAL = "--arithmetic real is about real numbers"
CUDA = "how CUDA's kernels round is not known; --device cpu, or --arithmetic real, which is about real numbers"


@dataclass(frozen=True)
class BoundsPlan:
    """What is asked.

    Args:
        model: whose outputs, or a layer's, are bounded.
        bounder: the method.
        arithmetic: of the network that the bounds are about.
        layer: whose output is bounded; "" for the model's.
        attack: norm and sizes of the change, and the attacks that are tried on the same regions, if any.
        largest: whether each input's largest certified change is looked for.
    """

    model: Model
    bounder: Bounder
    arithmetic: Arithmetic
    layer: str
    attack: AttackPlan
    largest: bool

    @cached_property
    def bounding(self) -> Bounding:
        """The model with the method."""
        return Bounding(self.model, self.bounder, self.arithmetic, self.layer)

    @property
    def scored(self) -> bool:
        """Whether what is bounded says which answer wins."""
        return is_scored(self.model, self.layer)

    @property
    def widest(self) -> float:
        """The size of the change that allows every input; where no range is known, the largest that was asked for."""
        if self.model.input.range is None:
            return max(self.attack.epsilons.values())
        low, high = self.model.input.range
        return diameter(high - low, math.prod(self.model.input.shape), self.attack.norm)

    @cached_property
    def hindrance(self) -> str:
        """Why nothing can be bounded, or ""."""
        return hindrance(self.bounding)

    @property
    def batch(self) -> int:
        """How many inputs are bounded together: it follows from the network, so that answers are the same anywhere."""
        program = self.bounding.program
        return max(1, BATCH_BYTES // needed_bytes(program, self.bounder, 1, program.output))

    def described(self) -> dict[str, Any]:
        """Return the plan as data: the same plan, the same data."""
        return {
            "bounds": self.bounder.about.name,
            "arithmetic": self.arithmetic.value,
            "layer": self.layer,
            "largest": self.largest,
            "attack": self.attack.described(),
        }


def is_scored(model: Model, layer: str) -> bool:
    """Say whether numbers are scores, of which one wins."""
    return not layer and model.card.output != "values"


def hindrance(bounding: Bounding) -> str:
    """Return why a model cannot be bounded that way, or "": no graph, an operator without a rule, too many numbers."""
    if reason := beyond(bounding.bounder.about, bounding.model):
        return reason
    if bounding.arithmetic is Arithmetic.FLOAT and bounding.model.device.type != "cpu":
        return CUDA
    if bounding.arithmetic is Arithmetic.FLOAT and (reason := other_kernels()):
        return reason
    try:
        _check_room(bounding.program, bounding.bounder)
    except AnalysisError as error:
        return str(error)
    return ""


def other_kernels() -> str:
    """Return why torch's CPU kernels are not those whose rounding is known, or ""."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return f"oneDNN is off, and how torch's other kernels round is not known; {REAL}"
    if float(torch.tensor([1e-40]).mul(1.0)) == 0:
        return f"numbers below 1e-38 are taken for 0 (torch.set_flush_denormal), and that is not covered; {REAL}"
    return ""


def hindrances(model: Model) -> Iterator[tuple[Method, str]]:
    """Yield what each method says of itself, and why it cannot bound a model's outputs, or ""."""
    first, *others = (method() for method in bounders.all().values())
    shared = Bounding(model, first)
    reason = hindrance(shared)
    yield first.about, reason
    for bounder in others:
        if not reason:
            try:
                _check_room(shared.program, bounder)
            except TooLargeError as error:
                yield bounder.about, str(error)
                continue
        yield bounder.about, reason


def _check_room(program: Program, bounder: Bounder) -> None:
    """Raise TooLargeError if one input cannot be bounded."""
    numbers = torch.Size(program.steps[program.output].shape).numel()
    if numbers > MOST_NUMBERS:
        raise TooLargeError(
            f"there are {numbers} numbers to bound, a pass backwards each; at most {MOST_NUMBERS} are: name a narrower "
            "layer"
        )
    check_fits(program, bounder, 1, program.output)


def plan_bounds(
    model: Model,
    epsilons: Iterable[str | float] | None = None,
    *,
    norm: str = "linf",
    method: str | None = None,
    arithmetic: str = "real",
    layer: str | None = None,
    attack: str | None = None,
    parameters: Parameters | None = None,
    largest: bool = False,
) -> BoundsPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: what is to be bounded.
        epsilons: sizes of the change, "8/255" or numbers; default 1, 2, 4 and 8/255 of the range for linf.
        norm: "linf", "l2" or "l1".
        method: name; default the one that declares itself default.
        arithmetic: "real" or "float".
        layer: whose output is bounded; default the model's.
        attack: a named plan, names of attacks separated by commas, or "none"; default the default attack.
        parameters: of the attacks, by name.
        largest: whether each input's largest certified change is looked for.
    """
    numbers = read_arithmetic(arithmetic)
    if method is not None and method not in bounders.all():
        raise unknown("method", method, [*bounders.all(), SMOOTHING])
    chosen = default_method() if method is None else bounders.get(method)
    given = read_norm(norm)
    sizes = read_sizes(model, given, epsilons)
    if layer is not None and model.graph is not None:
        model.layer(layer)
    scored = is_scored(model, layer or "")
    if not scored:
        _refuse_verdicts(attack=attack is not None, largest=largest, parameters=bool(parameters))
    if scored and model.graph is not None and attack != NONE:
        threat = _beside(model, attack, norm, sizes, parameters)
    else:
        threat = AttackPlan((), (), given, sizes, None, minima=False, name="")
    return BoundsPlan(model, chosen(), numbers, layer or "", threat, largest)


def read_arithmetic(name: str) -> Arithmetic:
    """Return the arithmetic of a name; raise UsageError if there is none."""
    if name not in tuple(Arithmetic):
        raise unknown("arithmetic", name, [known.value for known in Arithmetic])
    return Arithmetic(name)


def default_method() -> type[Bounder]:
    """Return the method that is taken when none is named."""
    return next(cls for cls in bounders.all().values() if cls.about.default)


def _beside(
    model: Model, attack: str | None, norm: str, sizes: dict[str, float], parameters: Parameters | None
) -> AttackPlan:
    """Return the attacks that are tried in the same regions."""
    plan, names = (attack, None) if attack in plans() else (None, attack and attack.split(","))
    found = plan_attack(
        model,
        [name.strip() for name in names] if names else None,
        plan=plan,
        norm=norm,
        epsilons=list(sizes),
        parameters=parameters,
        alarms=[NONE],
    )
    return AttackPlan(found.attacks, found.skipped, found.norm, sizes, None, minima=False, name=found.name)


def _refuse_verdicts(**asked: bool) -> None:
    """Refuse what is about answers where there are none."""
    options = {"attack": "--attack-plan", "largest": "--largest", "parameters": "--set"}
    for name, given in asked.items():
        if given:
            raise UsageError(
                f"{options[name]} was given, and only a model's scores of classes have answers that could be certified "
                "or attacked; leave it out"
            )
