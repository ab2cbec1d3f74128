"""A fitted detector as its run's folder keeps it: the guard, and some of the images that were held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.errors import RefusedFileError, TamperedError, UsageError
from xai.models.model import Model
from xai.reports.artefacts import Store, get, get_bytes, get_rows, put, put_bytes, put_rows
from xai.reports.evidence import Evidence
from xai.reports.folder import open_run
from xai.reports.records import Artefact, Finding
from xai.robustness.ood.gallery import Gallery
from xai.robustness.ood.guard import Guard
from xai.robustness.ood.saving import Packed, pack, unpack

FIT = "ood-fit"
FACTS, TENSORS = "detectors", "detectors' tensors"
PICTURES, DIRECTIONS, KNOWN = "gallery", "gallery features", "gallery rows"
SEEN = "keys"  # of what was seen


@dataclass(frozen=True)
class Known:
    """Held-back images that are remembered.

    Args:
        gallery: their features.
        pictures: (n, height, width, 3) bytes; None of inputs that are no pictures.
        rows: an id and a class's name, "" where it is not known, for each.
    """

    gallery: Gallery
    pictures: np.ndarray | None
    rows: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Detector:
    """What was fitted.

    Args:
        guard: the detectors with their thresholds.
        known: some of the held-back images; None if none are remembered.
        facts: sha256 of the detectors.
        source: where it comes from, for people.
        seen: (n,) int64, rising: `content_keys` of the images that it was fitted to and calibrated on.
    """

    guard: Guard
    known: Known | None
    facts: str
    source: str
    seen: np.ndarray


def put_detector(store: Store, guard: Guard, known: Known | None) -> dict[str, Artefact]:
    """Keep a detector in a run, and return its artefacts by name."""
    packed = pack(guard)
    kept = {
        FACTS: put_bytes(store, packed.facts, "json"),
        TENSORS: put_bytes(store, packed.tensors, "safetensors"),
    }
    if known is not None:
        kept[KNOWN] = put_rows(store, known.rows)
        kept[DIRECTIONS] = put(store, known.gallery.directions.cpu().numpy())
        if known.pictures is not None:
            kept[PICTURES] = put(store, known.pictures)
    return kept


def open_detector(source: str | Path | Evidence, model: Model) -> Detector:
    """Open what `xai ood fit` wrote.

    Args:
        source: the run's folder, or the run itself.
        model: that it was fitted to.

    Raises:
        UsageError: there is no such folder, or no fit in it.
        RefusedFileError: it is of another model, of another preparation of inputs, or of another version.
        TamperedError: a file is not as it was written.
    """
    if isinstance(source, Evidence):
        run, name = source, "of this run"
    else:
        name = str(source)
        if not Path(source).is_dir():
            raise UsageError(f"detector {name} does not exist; expected the folder that xai ood fit -o wrote")
        run = open_run(Path(source))
    try:
        return _opened(run, name, model)
    except TamperedError as error:
        raise TamperedError(f"detector {name}: {error}") from error
    except (ValueError, KeyError, TypeError, EOFError, MemoryError) as error:  # forged arrays and rows
        reason = " ".join(str(error).split())[:200]
        raise RefusedFileError(f"detector {name} cannot be read ({reason}); fit anew") from error


def _opened(run: Evidence, name: str, model: Model) -> Detector:
    fitted = next((one for one in run.findings if one.family == FIT), None)
    if fitted is None:
        raise UsageError(
            f"{name} holds a run of xai {run.record.verb} and no detector; expected the folder that xai ood fit wrote"
        )
    if fitted.status != "ok" or not {FACTS, TENSORS} <= set(fitted.artefacts):
        raise RefusedFileError(f"detector {name} is not whole: {fitted.reason or 'its record names no detectors'}")
    _check_preparation(run.record.model.card, model, name)
    held = fitted.artefacts
    packed = Packed(*(get_bytes(run.store, held[part]) for part in (FACTS, TENSORS)))
    guard = unpack(packed, model, name)
    seen = get(run.store, held[SEEN]) if SEEN in held else np.zeros(0, np.int64)
    if seen.ndim != 1 or seen.dtype != np.int64:
        raise RefusedFileError(f"detector {name}: what it says of the images it has seen is no list of keys; fit anew")
    return Detector(guard, _known(run, fitted, model, name), held[FACTS].sha256, name, seen)


def _known(run: Evidence, fitted: Finding, model: Model, name: str) -> Known | None:
    """Return the remembered images, checked against the model."""
    held = fitted.artefacts
    if not {KNOWN, DIRECTIONS} <= set(held):
        return None
    rows = [{key: str(row.get(key, "")) for key in ("id", "label")} for row in get_rows(run.store, held[KNOWN])]
    features = get(run.store, held[DIRECTIONS])
    pictures = get(run.store, held[PICTURES]) if PICTURES in held else None
    whole = features.ndim == 2 and features.dtype == np.float32 and len(features) == len(rows)
    if pictures is not None:
        whole &= pictures.ndim == 4 and pictures.dtype == np.uint8 and len(pictures) == len(rows)
    if not whole:
        raise RefusedFileError(f"detector {name}: its remembered images do not fit together; fit anew")
    return Known(Gallery(torch.from_numpy(features).to(model.device)), pictures, rows)


def _check_preparation(card: Mapping[str, Any], model: Model, name: str) -> None:
    """Refuse a detector whose images became inputs in another way: its scores would mean nothing."""
    then, now = card.get("input") or {}, model.card.model_dump(mode="json", exclude_none=True)["input"]
    differ = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    if differ:
        told = "; ".join(f"{key} {then.get(key)}, and now {now.get(key)}" for key in differ)
        raise RefusedFileError(f"detector {name} was fitted to inputs that were prepared otherwise: {told}; fit anew")
