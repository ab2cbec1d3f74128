"""What a policy asks to be measured: its threat model, and every size, norm and plan that a requirement names."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from xai.reports.policy.expression import Metric, read_number
from xai.reports.policy.fields import Policy
from xai.robustness.norms import Norm

SEVERITIES = (1, 3, 5)
Sizes = dict[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True)
class Wanted:
    """What is measured.

    Args:
        attacks: sizes of the change by plan and norm.
        certified: sizes of the change by norm.
        verified: sizes of the change by norm; those that requirements name alone, since a search is dear.
        seconds: for each image and size that is verified.
        smoothed: sizes of the change, l2.
        corruptions: those that requirements name; the default ones are always tried.
        severities: of all of them.
        judged: what is asked of explanations: measures, or names of values.
    """

    attacks: Sizes
    certified: dict[str, tuple[str, ...]]
    verified: dict[str, tuple[str, ...]]
    seconds: float
    smoothed: tuple[str, ...]
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    judged: tuple[str, ...] = ()


def wanted(policy: Policy) -> Wanted:
    """Return what a policy asks for: its threat model, and what its requirements name besides."""
    threat, metrics = policy.threat, [demand.metric for demand in policy.demands().values()]
    attacks: dict[tuple[str, str], list[str]] = {}
    certified: dict[str, list[str]] = {}
    verified: dict[str, list[str]] = {}
    smoothed: list[str] = []
    if threat.epsilons:
        attacks[threat.plan, threat.norm] = list(threat.epsilons)
        certified[threat.norm] = list(threat.epsilons)
    for metric in metrics:
        if metric.name == "robust_accuracy":
            plan, norm, size = _threat(metric, threat.plan, threat.norm)
            attacks.setdefault((plan, norm), []).append(size)
        elif metric.name in ("certified_accuracy", "verified_accuracy"):
            _, norm, size = _threat(metric, threat.plan, threat.norm)
            proved = certified if metric.name == "certified_accuracy" else verified
            proved.setdefault(norm, []).append(size)
        elif metric.name == "smoothed_accuracy":
            smoothed.append(metric.arguments[-1])
    damage = [metric.arguments for metric in metrics if metric.name == "corruption"]
    return Wanted(
        attacks={key: _ascending(sizes) for key, sizes in attacks.items()},
        certified={norm: _ascending(sizes) for norm, sizes in certified.items()},
        verified={norm: _ascending(sizes) for norm, sizes in verified.items()},
        seconds=policy.verification.seconds,
        smoothed=_ascending(smoothed),
        corruptions=tuple(dict.fromkeys(name for name, _ in damage)),
        severities=tuple(sorted({*SEVERITIES, *(int(severity) for _, severity in damage)})),
        judged=tuple(dict.fromkeys(map(_judge, metrics))),
    )


def _threat(metric: Metric, plan: str, norm: str) -> tuple[str, str, str]:
    """Return plan, norm and size that a metric names; the policy's own where it names none."""
    *words, size = metric.arguments
    norms = [word for word in words if word in tuple(Norm)]
    named = [word for word in words if word not in tuple(Norm)]
    return (named or [plan])[0], (norms or [norm])[0], size


def _judge(metric: Metric) -> str:
    """Return what a metric asks of maps: the name in explanation.NAME, or the measure in value(MAP, 'NAME: VALUE')."""
    family, _, name = metric.name.partition(".")
    if family == "explanation":
        return name
    return metric.arguments[1].partition(": ")[0] if metric.name == "value" else ""


def _ascending(sizes: list[str]) -> tuple[str, ...]:
    """Return sizes from the smallest on, one spelling each: 1/2 is .5."""
    once: dict[Fraction, str] = {}
    for size in sizes:
        once.setdefault(read_number(size), size)
    return tuple(once[number] for number in sorted(once))
