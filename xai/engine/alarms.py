"""Which alarms are listened to, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable

from xai.engine.choice import DEFAULT, Parameters, defaults, made, named
from xai.errors import UsageError
from xai.models.model import Model
from xai.robustness.alarms.base import Alarm, alarms


def plan_alarms(names: Iterable[str] | None, parameters: Parameters) -> tuple[tuple[Alarm, ...], Parameters]:
    """Return the alarms, and those parameters that are of something else.

    Args:
        names: of alarms, "all", "none" or "default", which None is too.
        parameters: by name of what they are for.

    Raises:
        UsageError: a name or value does not exist or fit.
    """
    known = alarms.all()
    own = {name: values for name, values in parameters.items() if name in known}
    chosen = _chosen(names)
    for name in own:
        if known[name] not in chosen:
            listed = ", ".join(cls.about.name for cls in chosen) or "none"
            raise UsageError(f"parameters were given for {name}, which is not among the alarms chosen: {listed}")
    rest = {name: values for name, values in parameters.items() if name not in known}
    return tuple(made(cls, own.get(cls.about.name, {})) for cls in chosen), rest


def check_surrogate(model: Model, surrogate: Model | None) -> None:
    """Raise UsageError if another model is the model itself, takes other inputs, or has another number of classes."""
    if surrogate is None:
        return
    if surrogate is model or (model.fingerprint and surrogate.fingerprint == model.fingerprint):
        raise UsageError(
            f"the surrogate is the model itself: expected another network for the same task; {surrogate.name} has the "
            "same program and numbers, so its gradients lead where the model's own do"
        )
    for what, own, other in (
        ("inputs of shape", model.input.shape, surrogate.input.shape),
        ("values in", model.input.range, surrogate.input.range),
        ("this many classes:", len(model.classes), len(surrogate.classes)),
    ):
        if own != other:
            raise UsageError(
                f"the surrogate does not fit: expected {what} {own}, as the model has; {surrogate.name} has {other}"
            )


def _chosen(names: Iterable[str] | None) -> list[type[Alarm]]:
    wanted = [DEFAULT] if names is None else list(names)
    if not wanted:
        raise UsageError("no alarm was named; expected some, all, none or default; see xai methods")
    return defaults(alarms) if wanted == [DEFAULT] else named(alarms, wanted)
