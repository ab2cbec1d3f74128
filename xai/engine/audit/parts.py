"""What an audit lets other verbs do: attacks and corruptions, bounds, smoothing, detectors, explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import torch

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.attack import attack
from xai.engine.audit.wanted import Wanted
from xai.engine.bounds import bounds
from xai.engine.choice import defaults
from xai.engine.deciding import Deciding, VerifyPlan, plan_verify
from xai.engine.enclosure import BoundsPlan, plan_bounds
from xai.engine.explain import explain
from xai.engine.ood.detector import open_detector
from xai.engine.ood.evaluate import Nearness, evaluate
from xai.engine.ood.fit import fit
from xai.engine.ood.plan import plan_fit
from xai.engine.plan import ExplainPlan, plan_explain
from xai.engine.smoothed import SmoothingPlan, plan_smoothing, smooth
from xai.engine.stated import verify_properties
from xai.engine.threat import AttackPlan, NoneFitsError, plan_attack, plans, read_sizes
from xai.engine.verify import verify
from xai.errors import NotApplicableError
from xai.measures.base import measures
from xai.models.model import Model
from xai.reports.artefacts import Store
from xai.reports.policy.fields import Explanations
from xai.reports.records import Scalar
from xai.reports.run import Run
from xai.robustness.bounds.limits import needed_work
from xai.robustness.corruptions.base import corruptions
from xai.robustness.norms import Norm
from xai.robustness.verify.statements import Compiled
from xai.runtime import Runtime

LOTS = 3e13  # multiply-adds of all images together: beyond, inner layers are bounded by intervals
THOROUGH, QUICK = "crown", "crown-ibp"


class Part(NamedTuple):
    """Something that an audit lets another verb do.

    Args:
        name: unique in the audit.
        work: does it.
        about: what a finding would say of it, by parameter; for the case that there is none.
    """

    name: str
    work: Callable[[], Run]
    about: Mapping[str, Scalar] = MappingProxyType({})


@dataclass(frozen=True)
class House:
    """What all parts of an audit share.

    Args:
        model: what is audited.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays.
        folder: keeps what is done, a folder a part; None for memory.
        jobs: shards at once.
    """

    model: Model
    runtime: Runtime
    store: Store
    folder: Path | None
    jobs: int | None

    def shared(self, part: str) -> dict[str, Any]:
        """Return what every run of another verb is given."""
        return {"runtime": self.runtime, "store": self.store, "folder": self.room(part), "jobs": self.jobs}

    def room(self, part: str) -> Path | None:
        """Return the folder of a part."""
        if self.folder is None:
            return None
        place = self.folder / part
        place.mkdir(parents=True, exist_ok=True)
        return place


@dataclass(frozen=True)
class Plans:
    """What other verbs are asked, checked before anything is measured.

    Args:
        attacks: by plan and norm; the first that can be tried tries the corruptions, too; or why it cannot be.
        bounds: by norm.
        searches: by norm and size: what is to be verified completely.
        smoothing: if any is asked for.
        explaining: if any is asked for.
    """

    attacks: dict[tuple[str, str], AttackPlan | NoneFitsError]
    bounds: dict[str, BoundsPlan]
    searches: dict[tuple[str, str], VerifyPlan]
    smoothing: SmoothingPlan | None
    explaining: ExplainPlan | None

    @classmethod
    def made(cls, model: Model, wanted: Wanted, images: int, asked: Explanations | None) -> Plans:
        """Return the plans; raise UsageError for what does not exist or fit.

        Maps are judged by the measures that declare themselves default, and by those that a requirement names.
        """
        judging = [one.about.name for one in defaults(measures)]
        judging += [name for name in wanted.judged if name in measures.all() and name not in judging]
        return cls(
            _attacks(model, wanted),
            {norm: _bounds(model, norm, sizes, images) for norm, sizes in wanted.certified.items()},
            {
                (norm, size): plan_verify(model, size, norm=norm, timeout=wanted.seconds)
                for norm, sizes in wanted.verified.items()
                for size in sizes
            },
            plan_smoothing(model, wanted.smoothed, sigma=max(read_sizes(model, Norm.L2, wanted.smoothed).values()))
            if wanted.smoothed
            else None,
            None if asked is None else plan_explain(model, asked.methods or None, measures_named=judging),
        )


def _attacks(model: Model, wanted: Wanted) -> dict[tuple[str, str], AttackPlan | NoneFitsError]:
    damage = [cls.about.name for cls in defaults(corruptions)]
    damaging: dict[str, Any] = {
        "corrupted_by": list(dict.fromkeys([*damage, *wanted.corruptions])),
        "severities": wanted.severities,
    }
    found: dict[tuple[str, str], AttackPlan | NoneFitsError] = {}
    for (plan, norm), sizes in wanted.attacks.items():
        known = plan in plans()
        names = None if known else [part.strip() for part in plan.split(",")]
        try:
            found[plan, norm] = plan_attack(
                model, names, plan=plan if known else None, norm=norm, epsilons=sizes, **damaging
            )
            damaging = {}
        except NoneFitsError as error:
            found[plan, norm] = error
    return {**found, **({("none", ""): plan_attack(model, ["none"], **damaging)} if damaging else {})}


def _bounds(model: Model, norm: str, sizes: Sequence[str], images: int) -> BoundsPlan:
    """Return the thorough method where it ends in reasonable time, else the quick one."""
    plan = plan_bounds(model, sizes, norm=norm, method=THOROUGH, attack="none")
    if plan.hindrance and model.graph is None:
        return plan
    if not plan.hindrance:
        program = plan.bounding.program
        if needed_work(program, plan.bounder, program.output) * images * len(sizes) <= LOTS:
            return plan
    return plan_bounds(model, sizes, norm=norm, method=QUICK, attack="none")


def attacked(house: House, data: DataSet, plans_made: Plans) -> Iterator[Part]:
    """Yield what tells what each set of attacks leaves standing."""
    for (plan, norm), made in plans_made.attacks.items():
        name, about = f"attack-{plan}-{norm}", {"plan": plan, "norm": norm}
        if isinstance(made, NoneFitsError):
            yield Part(name, partial(_refuse, str(made)), about)
        else:
            yield Part(name, partial(attack, house.model, data, made, **house.shared(name)), about)


def _refuse(reason: str) -> NoReturn:
    raise NotApplicableError(reason)


def bounded(house: House, data: DataSet, plans_made: Plans) -> Iterator[Part]:
    """Yield what tells what is certified in each norm."""
    for norm, plan in plans_made.bounds.items():
        name = f"bounds-{norm}"
        yield Part(name, partial(bounds, data, plan, **house.shared(name)), {"norm": norm})


def verified(house: House, data: DataSet, plans_made: Plans) -> Iterator[Part]:
    """Yield what tells what a search proves in each norm at each size."""
    for (norm, size), plan in plans_made.searches.items():
        name = f"verify-{norm}-{size.replace('/', '-')}"
        work = partial(_searched, house, data, plan, name)
        yield Part(name, work, {"norm": norm, "epsilons": size})


def _searched(house: House, data: DataSet, plan: VerifyPlan, name: str) -> Run:
    """Verify; where nothing can be proved, nothing is attacked either: other parts do that, if it is asked for."""
    if plan.hindrance:
        plan = replace(plan, attack=replace(plan.attack, attacks=()))
    return verify(data, plan, **house.shared(name))


def stated(house: House, compiled: Sequence[Compiled], deciding: Deciding) -> Iterator[Part]:
    """Yield what tells which properties hold, if any are named."""
    if compiled:
        yield Part("properties", partial(verify_properties, compiled, deciding, **house.shared("properties")))


def smoothed(house: House, data: DataSet, plans_made: Plans) -> Iterator[Part]:
    """Yield what tells what a smoothed classifier's statistics say, if that is asked for."""
    if plans_made.smoothing is not None:
        yield Part("smoothing", partial(smooth, data, plans_made.smoothing, **house.shared("smoothing")))


def foreign(house: House, held: DataSet, test: DataSet, outliers: Mapping[str, DataSet]) -> Iterator[Part]:
    """Yield what tells what detectors fitted on held-back images are worth on test images and outliers."""
    fitted: list[Run] = []

    def fitting() -> Run:
        fitted.append(fit(held, plan_fit(house.model, gallery=0), **house.shared("ood-fit")))
        return fitted[0]

    def judging() -> Run:
        sets = {name: (Nearness.FAR, data) for name, data in outliers.items()}
        detector = open_detector(fitted[0], house.model)
        return evaluate(house.model, detector, test, sets, **house.shared("ood-evaluate"))

    yield Part("ood-fit", fitting)
    if fitted:
        yield Part("ood-evaluate", judging)


def explained(house: House, samples: Sequence[Sample], plan: ExplainPlan) -> Run:
    """Return explanations of some images, with what they are worth."""
    with torch.random.fork_rng(devices=[]):
        return explain(house.model, samples, plan, runtime=house.runtime, store=house.store)
