"""What is to be decided of a model's answers, how, and for how long; checked before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch

from xai.engine.choice import NONE
from xai.engine.enclosure import default_method, hindrance, read_arithmetic
from xai.engine.probe import CLOSE, SLACK
from xai.engine.threat import AttackPlan, NoneFitsError, plan_attack, read_norm, read_sizes
from xai.engine.threat import hindrance as unfit
from xai.errors import UsageError, XaiError, lacks_memory
from xai.models.model import Model
from xai.reports.records import Finding
from xai.robustness.attacks.base import attacks
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.methods.base import Bounder, bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import Norm
from xai.robustness.verify.checker.exactly import exactly
from xai.robustness.verify.checker.network import Network as Matrices
from xai.robustness.verify.checker.network import UncheckableError, read_network
from xai.robustness.verify.condensed import condensed
from xai.robustness.verify.decide import Outcome, Verdict, Verifier
from xai.robustness.verify.falsify import Falsifier, Network
from xai.robustness.verify.pairs import Pair, doubled
from xai.robustness.verify.problem import Problem
from xai.robustness.verify.property import Case, Property

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds for each image or property
SHORT = "too little memory for the search; free some, or take fewer jobs, a smaller network or a larger machine"
TRIED = 32  # points of a region that a proof is tried with
Confirm = Callable[[torch.Tensor, torch.Tensor], bool]
ROUNDED_AWAY = (
    "it is proved for real numbers, and the float32 network violates it at a point that was found; "
    "--arithmetic float is about that network"
)


@dataclass(frozen=True)
class Deciding:
    """How properties of a model are decided.

    Args:
        model: that they are about.
        arithmetic: of the network that proofs are about.
        timeout: seconds for each.
        keep_proofs: whether proofs are kept, and put before the independent checker.
    """

    model: Model
    arithmetic: Arithmetic
    timeout: float
    keep_proofs: bool = False

    @cached_property
    def bounding(self) -> Bounding:
        """The model with the bounds that cost least."""
        return Bounding(self.model, default_method()(), self.arithmetic)

    @cached_property
    def hindrance(self) -> str:
        """Why nothing can be proved of the model, or ""."""
        return hindrance(self.bounding)

    @cached_property
    def program(self) -> Program:
        """The network in few steps."""
        return condensed(self.bounding.program)

    def network(self, check: Callable[[], None]) -> Network:
        """Return the model as it runs, (n, ...) -> (n, outputs); a search that asks it ends where a check raises."""

        def ask(x: torch.Tensor) -> torch.Tensor:
            check()
            return self.model(x).flatten(1)

        return ask

    def verifier(self, program: Program, network: Network, confirm: Confirm, seed: int) -> Verifier:
        """Return what decides properties of a network.

        Args:
            program: its steps.
            network: as it runs.
            confirm: says whether an input (...) with its output (outputs,) is a counterexample in the property's terms.
            seed: of everything random.
        """
        exact = self._exactly if program is self.program else None  # of pairs the network is another
        return Verifier(program, network, default_method()(), _thorough(), self.arithmetic, confirm, seed, exact)

    @cached_property
    def _matrices(self) -> Matrices | None:
        """The model as matrices, None where it cannot be."""
        try:
            return read_network(self.model.needed_graph(), self.model.input.shape)
        except UncheckableError:
            return None

    def _exactly(self, x: torch.Tensor) -> list[Fraction] | None:
        """Return the outputs at an input (...) in exact arithmetic; None where that cannot be."""
        matrices = self._matrices
        return None if matrices is None else exactly(matrices, x.double().flatten().tolist())

    def described(self) -> dict[str, Any]:
        """Return it as data: the same plan, the same data."""
        return {"arithmetic": self.arithmetic.value, "timeout": self.timeout, "proofs": self.keep_proofs}


@dataclass(frozen=True)
class VerifyPlan(Deciding):
    """What is asked of every image: does its right answer stay the same within a size of the change?

    Args:
        attack: norm and size of the change, and the attacks that are tried first.
    """

    attack: AttackPlan = field(kw_only=True)

    @property
    def size(self) -> tuple[str, float]:
        """Name and number of the size of the change."""
        ((name, epsilon),) = self.attack.epsilons.items()
        return name, epsilon

    def described(self) -> dict[str, Any]:
        """Return it as data: the same plan, the same data."""
        return {**super().described(), "attack": self.attack.described()}

    def wanted(self, x: torch.Tensor, answer: int) -> Property:
        """Return what is to be proved of an input (1, ...) and the model's answer to it, an index into its answers."""
        return stays(self.bounding.inputs(x, self.attack.norm, self.size[1]), self.model, answer)


def plan_deciding(
    model: Model, *, timeout: float | None = None, arithmetic: str = "real", keep_proofs: bool = False
) -> Deciding:
    """Return how properties are decided; raise UsageError for a value that does not fit.

    Args:
        model: that they are about.
        timeout: seconds for each; default 60.
        arithmetic: "real" or "float".
        keep_proofs: whether proofs are kept, and put before the independent checker.
    """
    return Deciding(model, read_arithmetic(arithmetic), _seconds(timeout), keep_proofs)


def plan_verify(
    model: Model,
    eps: str | float | None,
    *,
    norm: str = "linf",
    timeout: float | None = None,
    arithmetic: str = "real",
    keep_proofs: bool = False,
) -> VerifyPlan:
    """Return the plan; raise UsageError for any name or value that does not exist or fit.

    Args:
        model: that is to be verified.
        eps: size of the change, "2/255" or a number.
        norm: "linf", "l2" or "l1".
        timeout: seconds for each image; default 60.
        arithmetic: "real" or "float".
        keep_proofs: whether proofs are kept, and put before the independent checker.
    """
    if model.card.output == "values":
        raise UsageError(
            "the model's outputs are values, so that no answer is right or wrong; say what must hold of them in a file "
            "of properties"
        )
    given = read_norm(norm)
    if eps is None:
        raise UsageError("no size of the change was given: name one in input units, such as eps 1/255")
    sizes = read_sizes(model, given, [eps])
    attack = AttackPlan(_first_attacks(model, norm, eps), (), given, sizes, None, minima=False, name="")
    numbers, seconds = read_arithmetic(arithmetic), _seconds(timeout)
    return VerifyPlan(model, numbers, seconds, keep_proofs, attack=attack)


def replanned(model: Model, finding: Finding) -> VerifyPlan:
    """Return the plan of a verification that is on record, without its attacks."""
    told = finding.parameters
    name, norm = str(told["epsilons"]), read_norm(str(told["norm"]))
    sizes = {name: float(str(told[f"epsilon {name}"]))}
    attack = AttackPlan((), (), norm, sizes, None, minima=False, name="")
    return VerifyPlan(model, read_arithmetic(str(told["arithmetic"])), TIMEOUT, attack=attack)


def _seconds(timeout: float | None) -> float:
    if timeout is None:
        return TIMEOUT
    if not (math.isfinite(timeout) and timeout > 0):
        raise UsageError(f"timeout: expected a number of seconds above 0, received {timeout:g}")
    return float(timeout)


def _first_attacks(model: Model, norm: str, eps: str | float) -> tuple[Any, ...]:
    """Return the default attacks; where none can be tried, as on a black box, those that can, if any."""
    try:
        return plan_attack(model, norm=norm, epsilons=[eps], alarms=[NONE]).attacks
    except NoneFitsError:
        made = (cls() for cls in attacks.all().values())
        return tuple(one for one in made if not unfit(one, model, Norm(norm), targeted=False))


def stays(region: Inputs, model: Model, answer: int) -> Property:
    """Return the property that every input of a region has an answer, by more than a tie.

    Args:
        region: one sample's inputs.
        model: that scores answers.
        answer: index into the model's answers.
    """
    named = [(other, name) for other, name in enumerate(model.answers) if other != answer]
    place = region.centre.device
    if len(model.classes) == 1:
        sign = 1.0 if answer else -1.0
        middle = 0.5 if model.card.output == "probabilities" else 0.0
        rows = torch.tensor([[[sign]]], dtype=torch.float64, device=place)
        limit = torch.tensor([sign * middle], dtype=torch.float64, device=place)
    else:
        scores = torch.eye(len(model.classes), dtype=torch.float64, device=place)
        rows = (scores[answer] - scores[[other for other, _ in named]])[:, None]
        limit = torch.zeros(1, dtype=torch.float64, device=place)
    cases = (Case(region, row, limit, name) for row, (_, name) in zip(rows, named, strict=True))
    return Property(tuple(cases), f"the answer stays {model.answers[answer]}")


def beyond(wanted: Property, outputs: torch.Tensor) -> torch.Tensor:
    """Say which outputs (n, outputs) lie beyond the limits of some case: (n,) bool; to touch them is not enough."""
    slack = torch.stack([case.slack(outputs) for case in wanted.cases])
    return (slack < 0).any(0) & outputs.isfinite().all(1)


def _thorough() -> Bounder:
    """Return the bounds that cost most: those that go back to the input most often."""
    return max(bounders.all().values(), key=lambda cls: cls.inner)()


def guarded(decide: Callable[[], Outcome]) -> Outcome:
    """Return what a search finds; what breaks it decides nothing, and is told: too little memory above all."""
    try:
        return decide()
    except (InterruptedError, KeyboardInterrupt):
        raise
    except XaiError as error:
        return Outcome(Verdict.NOT_DECIDED, "", 0.0, reason=str(error))
    except (Exception, MemoryError) as error:
        if lacks_memory(error):
            return Outcome(Verdict.NOT_DECIDED, "", 0.0, reason=SHORT)
        log.exception("a search failed")
        said = f"the search failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Outcome(Verdict.NOT_DECIDED, "", 0.0, reason=said)


@dataclass(frozen=True)
class Judge:
    """Decides one property, and tries what was proved.

    Args:
        plan: how.
        wanted: the property.
        network: as it runs.
        violated: says whether an output (outputs,) violates it in its own terms.
        seed: of everything random.
        pair: how two inputs are made of a joint one, where it is about two.
    """

    plan: Deciding
    wanted: Property
    network: Network
    violated: Callable[[torch.Tensor], bool]
    seed: int
    pair: Pair | None = None

    @cached_property
    def program(self) -> Program:
        """The steps that are bounded."""
        plan = self.plan
        return plan.program if self.pair is None else condensed(doubled(plan.bounding.program, self.pair))

    def decide(self, seconds: float) -> Outcome:
        """Return what is known after so many seconds; what breaks decides nothing, and is told."""
        if self.plan.hindrance:
            return Outcome(Verdict.NOT_DECIDED, "", 0.0, reason=self.plan.hindrance)
        return guarded(lambda: self._verifier().decide(self.wanted, seconds))

    def _verifier(self) -> Verifier:
        return self.plan.verifier(self.program, self.network, lambda _, output: self.violated(output), self.seed)

    def points(self) -> torch.Tensor:
        """Return random points (n, ...) of the region, half of them corners, the middle first: float32."""
        case = self.wanted.cases[0]
        box, generator = case.region.box, torch.Generator().manual_seed(self.seed)
        shares = torch.rand((TRIED, *box.lower.shape[2:]), dtype=torch.float64, generator=generator)
        shares[TRIED // 2 :] = shares[TRIED // 2 :].round()
        shares[0] = 0.5
        lower, upper = box.lower[:, 0], box.upper[:, 0]
        inside = Falsifier(Problem(self.program, case, self.plan.arithmetic), self.network, generator).inside
        return inside(lower + (upper - lower) * shares.to(lower.device))

    @torch.no_grad()
    def contradicted(self, points: torch.Tensor) -> torch.Tensor | None:
        """Return the first of points (n, ...) at which a proof of the property is wrong, if there is one.

        The numbers are those that the proof is about; where they are real ones, and the network is farther off than
        rounding explains, the network's: the steps are of something else then, and must not pass for it.
        """
        values, room = self.network(points).double(), 0.0
        if self.plan.arithmetic is Arithmetic.REAL:
            steps = self.program.value(points).flatten(1)
            near = ((steps - values).abs() <= CLOSE * values.nan_to_num(0.0, 0.0, 0.0).abs().amax()).all(1)
            values = torch.where(near[:, None], steps, values)
            room = SLACK * (1 + float(values.nan_to_num(0.0, 0.0, 0.0).abs().amax()))
        slack = torch.stack([case.slack(values) for case in self.wanted.cases]).amin(0)
        wrong = (slack <= -room) | values.isnan().any(1)
        return points[int(wrong.byte().argmax())] if bool(wrong.any()) else None

    @torch.no_grad()
    def rounded_away(self, points: torch.Tensor) -> bool:
        """Say whether the network itself, with its rounding, violates at some of points what real numbers do not."""
        return bool(beyond(self.wanted, self.network(points).double()).any())
