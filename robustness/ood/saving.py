"""Guards on disk: a file of tensors and a file of facts, bound to each other and to the model.

Nothing in them is code. What was cut short, changed or made for another model is refused. The digests find damage and
exchanged files; they do not prove who wrote them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from xai.errors import RefusedFileError, TamperedError, UsageError, XaiError
from xai.models.model import Model
from xai.robustness.ood.calibration import Calibration, Share, Threshold
from xai.robustness.ood.combination import Combination
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.ood.fitting import Fitted, FittedSet
from xai.robustness.ood.guard import Guard
from xai.version import __version__

FORMAT = 1
FACTS, TENSORS = "detectors.json", "detectors.safetensors"
_MAX_FACTS = 16 * 2**20
_SIGN = "|"  # between the parts of a tensor's name


@dataclass(frozen=True)
class Packed:
    """A guard as bytes.

    Args:
        facts: JSON.
        tensors: a safetensors file.
    """

    facts: bytes
    tensors: bytes


def pack(guard: Guard) -> Packed:
    """Return a guard as bytes, of which `unpack` makes it again."""
    content = save_tensors({name: value.detach().cpu().contiguous().clone() for name, value in _tensors(guard).items()})
    facts = _facts(guard) | {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    sealed = facts | {"seal": _seal(facts)}
    return Packed((json.dumps(sealed, indent=1, allow_nan=False) + "\n").encode(), content)


def unpack(packed: Packed, model: Model, source: str) -> Guard:
    """Return a guard that was packed.

    Args:
        packed: by `pack`.
        model: that it was fitted to.
        source: where it comes from, for messages.

    Raises:
        RefusedFileError: it is cut short, unknown to this version, or of another model.
        TamperedError: it is not as it was written.
    """
    facts, tensors = _read(packed, source)
    if facts["fingerprint"] != model.fingerprint:
        raise RefusedFileError(
            f"detectors {source} were fitted to another model (fingerprint {str(facts['fingerprint'])[:12]}; "
            f"{model.name} has {model.fingerprint[:12]}); fit them to this one"
        )
    try:
        guard = _guard(facts, tensors, model.device)
        tried = guard.scores(model, torch.full((2, *model.input.shape), sum(model.input.span) / 2))
        if all(values.isfinite().all() for values in tried.values()):  # that of another input need not be
            guard.judge(tried)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        RuntimeError,
        ValidationError,
        XaiError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise RefusedFileError(f"detectors {source} are not what this version writes: {reason}; fit anew") from error
    return guard


def save(guard: Guard, folder: str | Path) -> None:
    """Write a guard into a folder, which is made if need be.

    Raises:
        UsageError: the path is a file, or the folder holds a guard already.
    """
    place = Path(folder)
    if place.is_file() or (place / FACTS).exists():
        raise UsageError(f"expected a folder without detectors, received {place}; give another, or remove it")
    place.mkdir(parents=True, exist_ok=True)
    packed = pack(guard)
    (place / TENSORS).write_bytes(packed.tensors)
    (place / FACTS).write_bytes(packed.facts)


def load(folder: str | Path, model: Model) -> Guard:
    """Return the guard of a folder; see `unpack`.

    Args:
        folder: that `save` wrote.
        model: that it was fitted to.

    Raises:
        UsageError: the folder does not exist.
        RefusedFileError: it holds no guard, one that is cut short or unknown to this version, or one of another model.
        TamperedError: a file is not as it was written.
    """
    place = Path(folder)
    if not place.exists():
        raise UsageError(f"detectors {place} do not exist")
    try:
        packed = Packed((place / FACTS).read_bytes(), (place / TENSORS).read_bytes())
    except OSError as error:
        raise RefusedFileError(
            f"detectors {place} cannot be read ({' '.join(str(error).split())[:200]}); expected {FACTS} and {TENSORS}"
        ) from error
    return unpack(packed, model, str(place))


def _read(packed: Packed, source: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return facts and tensors, as they were written."""
    if len(packed.facts) > _MAX_FACTS:
        raise RefusedFileError(f"detectors {source}: {FACTS} is larger than {_MAX_FACTS} bytes")
    try:
        facts = json.loads(packed.facts.decode())
    except (ValueError, RecursionError) as error:
        raise RefusedFileError(
            f"detectors {source} cannot be read ({' '.join(str(error).split())[:200]}); expected {FACTS} and {TENSORS}"
        ) from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise RefusedFileError(f"detectors {source}: expected {FACTS} of format {FORMAT}; fit anew with this version")
    if facts.pop("seal", None) != _seal(facts):
        raise TamperedError(f"detectors {source} were changed after they were fitted: {FACTS} is not as it was written")
    size = facts.get("bytes")
    if not isinstance(size, int) or len(packed.tensors) < size:
        raise RefusedFileError(f"detectors {source}: {TENSORS} is cut short, {len(packed.tensors)} of {size} bytes")
    if hashlib.sha256(packed.tensors).hexdigest() != facts.get("sha256"):
        raise TamperedError(
            f"detectors {source} were changed after they were fitted: {TENSORS} is not as it was written"
        )
    try:
        return facts, load_tensors(packed.tensors)
    except SafetensorError as error:
        raise RefusedFileError(f"detectors {source}: {TENSORS} is no file of tensors") from error


def _seal(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _facts(guard: Guard) -> dict[str, Any]:
    fitted = guard.fitted
    return {
        "format": FORMAT,
        "xai": __version__,
        "torch": torch.__version__,
        "fingerprint": fitted.fingerprint,
        "images": fitted.images,
        "layers": list(fitted.layers),
        "notes": list(fitted.notes),
        "skipped": dict(fitted.skipped),
        "detectors": {name: one.detector.model_dump(mode="json") for name, one in fitted.fitted.items()},
        "combinations": {name: list(one.members) for name, one in guard.combinations.items()},
        "thresholds": {name: _plain(one.threshold) for name, one in guard.calibrations.items()},
    }


def _plain(threshold: Threshold) -> dict[str, Any]:
    """Return a threshold as JSON holds it: an end that is not finite is null."""
    facts = asdict(threshold)
    if threshold.between is not None:
        facts["between"] = [end if abs(end) < float("inf") else None for end in threshold.between]
    return facts


def _threshold(facts: dict[str, Any]) -> Threshold:
    ends = facts["between"]
    if ends is not None:
        ends = (-float("inf") if ends[0] is None else ends[0], float("inf") if ends[1] is None else ends[1])
    shares = {name: None if facts[name] is None else Share(**facts[name]) for name in ("keeps", "accepts")}
    return Threshold(**{**facts, **shares, "between": ends})


def _tensors(guard: Guard) -> dict[str, torch.Tensor]:
    """Return every tensor of a guard under a name that says where it belongs."""
    states: dict[tuple[str, ...], torch.Tensor] = {
        ("state", name, key): value for name, one in guard.fitted.fitted.items() for key, value in one.state.items()
    }
    held: dict[tuple[str, ...], torch.Tensor] = {("held", name): one.scores for name, one in guard.calibrations.items()}
    known: dict[tuple[str, ...], torch.Tensor] = {
        ("reference", name, key): v for name, one in guard.combinations.items() for key, v in one.reference.items()
    }
    return {_SIGN.join(parts): value for parts, value in {**states, **held, **known}.items()}


def _guard(facts: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> Guard:
    def under(*parts: str) -> dict[str, torch.Tensor]:
        start = _SIGN.join((*parts, ""))
        return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}

    fitted = {
        name: Fitted(
            detectors.get(name)(**parameters), {key: value.to(device) for key, value in under("state", name).items()}
        )
        for name, parameters in facts["detectors"].items()
    }
    of_all = FittedSet(
        fitted, facts["skipped"], tuple(facts["layers"]), facts["fingerprint"], facts["images"], tuple(facts["notes"])
    )
    return Guard(
        of_all,
        {
            name: Combination({member: tensors[_SIGN.join(("reference", name, member))] for member in members})
            for name, members in facts["combinations"].items()
        },
        {
            name: Calibration(tensors[_SIGN.join(("held", name))], _threshold(threshold))
            for name, threshold in facts["thresholds"].items()
        },
    )
