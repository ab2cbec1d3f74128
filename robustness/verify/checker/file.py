"""Proofs in files: the numbers that a proof consists of, in safetensors, and what they are about, in its metadata.

A tree is written from its root, each part before what becomes of it: the side where a number is at least a threshold
before the side where it is at most that. A part that is not cut any further is a leaf.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from xai.errors import RefusedFileError, UsageError

FORMAT = 1
KEY = "xai.proof"
MAX_BYTES = 2**32
MAX_DEPTH = 4096
MAX_CUTS = 5 * 10**7  # of all leaves together
LEAF = -1
INPUT = 0  # the value that a cut is about; a rectifier's input is its place among the names, plus 1
SHARES = 255  # a slope in one byte is so many parts of 1, and never less than the rectifier's own slope
SHARES_OF_ROWS = 256  # what a row counts in a mixture is a whole number of so many parts of 1
BOXES, WHOLE, CUTS, MIXED = "boxes", "whole", "cuts", "mixed"
KINDS = (BOXES, WHOLE, CUTS, MIXED)
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Cut:
    """A side of a threshold.

    Args:
        value: INPUT, or a rectifier's place among the names plus 1.
        number: its place in that value.
        at: the threshold.
        side: 1 where the number is at least that, -1 where it is at most that.
    """

    value: int
    number: int
    at: float
    side: int


@dataclass(frozen=True)
class Slopes:
    """Slopes that were chosen, of some numbers of a rectifier.

    Args:
        places: (n,) which numbers.
        shares: (rows, n) as they are written.
    """

    places: NDArray[np.int64]
    shares: NDArray[Any]


@dataclass(frozen=True)
class Written:
    """A proof as it is written.

    Args:
        about: its metadata.
        tensors: its numbers.
        source: what it was read from.
    """

    about: Mapping[str, Any]
    tensors: Tensors
    source: str

    def array(self, name: str, kind: str, ndim: int) -> NDArray[Any]:
        """Return numbers; raise RefusedFileError unless they are there, of a kind (numpy's letter), and finite."""
        found = self.tensors.get(name)
        if found is None or found.dtype.kind not in kind or found.ndim != ndim:
            raise self.refused(f"expected numbers {name!r} with {ndim} axes, received {_words(found)}")
        if not bool(np.isfinite(found).all()):
            raise self.refused(f"expected finite numbers in {name!r}, received others")
        return found

    def reals(self, name: str, ndim: int) -> NDArray[np.float64]:
        """Return numbers in float64."""
        return np.asarray(self.array(name, "f", ndim).astype(np.float64))

    def whole(self, name: str) -> NDArray[np.int64]:
        """Return whole numbers (n,)."""
        return np.asarray(self.array(name, "iu", 1).astype(np.int64))

    def slopes(self, prefix: str, rows: int) -> dict[str, Slopes]:
        """Return the chosen slopes (rows, ...) of each rectifier that has some under a prefix."""
        found = {}
        for name in self.about["rectifiers"]:
            if f"{prefix}.slopes.{name}" not in self.tensors:
                continue
            shares = self.array(f"{prefix}.slopes.{name}", "fu", 2)
            places = self.whole(f"{prefix}.places.{name}")
            if shares.shape != (rows, len(places)):
                raise self.refused(f"expected {rows} x {len(places)} slopes of {name}, received {shares.shape}")
            found[name] = Slopes(places, shares)
        return found

    def leaves(self, case: int) -> list[tuple[Cut, ...]]:
        """Return the cuts that make each leaf of a case's tree; both sides of every cut are there."""
        values, numbers = self.whole(f"case.{case}.tree.value"), self.whole(f"case.{case}.tree.number")
        ends = self.reals(f"case.{case}.tree.at", 1)
        if not len(values) == len(numbers) == len(ends):
            raise self.refused("expected a tree of parts with a value, a number and a threshold each")
        found: list[tuple[Cut, ...]] = []
        waiting: list[tuple[Cut, ...]] = [()]
        count = 0
        for value, number, at in zip(values.tolist(), numbers.tolist(), ends.tolist(), strict=True):
            if not waiting or len(waiting) > MAX_DEPTH:
                raise self.refused("expected a tree that ends with its last leaf, received more parts")
            cuts = waiting.pop()
            count += len(cuts)
            if count > MAX_CUTS:
                raise self.refused(f"expected leaves of at most {MAX_CUTS} cuts together, received more")
            if value == LEAF:
                found.append(cuts)
            else:
                waiting += [(*cuts, Cut(value, number, at, -1)), (*cuts, Cut(value, number, at, 1))]
        if waiting:
            raise self.refused(f"expected both sides of every cut, received a tree in which {len(waiting)} are missing")
        return found

    def refused(self, why: str) -> RefusedFileError:
        """Return what to raise."""
        return RefusedFileError(f"proof {self.source}: {why}; write it again, nothing follows from this file")


def read(path: Path) -> Written:
    """Return a proof as it is written.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is no proof, or was changed after it was written.
    """
    if not path.is_file():
        raise UsageError(f"proof {path} does not exist")
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFileError(f"proof {path}: expected at most {MAX_BYTES} bytes, received {path.stat().st_size}")
    return parse(path.read_bytes(), str(path))


def parse(content: bytes, source: str) -> Written:
    """Return a proof as its bytes give it.

    Args:
        content: of a safetensors file.
        source: what it was read from, for messages.

    Raises:
        RefusedFileError: it is no proof, or was changed after it was written.
    """
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"][KEY])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise RefusedFileError(
            f"proof {source} cannot be read: expected a proof in safetensors, received {why}"
        ) from error
    written = Written(about, tensors, source)
    _check_about(written)
    return written


def digest(about: Mapping[str, Any], tensors: Tensors) -> str:
    """Return the sha256 of all that a proof says."""
    found = hashlib.sha256()
    text = {key: value for key, value in about.items() if key != "digest"}
    found.update(json.dumps(text, sort_keys=True).encode())
    for name in sorted(tensors):
        part = np.ascontiguousarray(tensors[name])
        found.update(f"{name} {part.dtype.str} {part.shape}".encode())
        found.update(part.tobytes())
    return found.hexdigest()


def _check_about(written: Written) -> None:
    """Raise RefusedFileError unless the metadata has the fields of a proof, and the digest is that of the content."""
    about = written.about
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise written.refused(f"expected a proof of format {FORMAT}")
    _check_fields(written)
    if about["digest"] != digest(about, written.tensors):
        raise written.refused("a digit of it was changed after it was written")
    for norm in about["regions"]:
        if norm not in ("linf", "l1", "l2"):
            raise written.refused(f"expected a region's norm linf, l1 or l2, received {norm!r}")
    for region in about["roots"]:
        _check_place(written, region, about["regions"])
    for case in about["cases"]:
        _check_case(written, case)


def _check_fields(written: Written) -> None:
    about = written.about
    texts = [about.get(key) for key in ("fingerprint", "arithmetic", "property", "digest")]
    lists = [about.get(key) for key in ("rectifiers", "maxima", "regions", "roots", "cases")]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(part, list) for part in lists):
        raise written.refused("expected a network, a property, regions and cases")
    names = [*about["rectifiers"], *about["maxima"]]
    if not all(isinstance(name, str) for name in names) or not about["cases"]:
        raise written.refused("expected names of rectifiers and maxima, and at least one case")


def _check_case(written: Written, case: Any) -> None:
    about = written.about
    if not isinstance(case, dict) or case.get("kind") not in KINDS or not isinstance(case.get("name"), str):
        raise written.refused("expected cases that have a name and a kind of proof")
    _check_place(written, case.get("region"), about["regions"])
    if case["kind"] != BOXES:
        _check_place(written, case.get("root"), about["roots"])
        if about["roots"][case["root"]] != case["region"]:
            raise written.refused("expected bounds of a case's own region")


def _check_place(written: Written, place: object, of: list[Any]) -> None:
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(of):
        raise written.refused(f"expected a place below {len(of)}, received {str(place)[:20]}")


def _words(found: NDArray[Any] | None) -> str:
    return "none" if found is None else f"{math.prod(found.shape)} of {found.dtype}"
