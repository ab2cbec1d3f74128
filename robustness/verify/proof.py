"""Writes what a search found as a proof that can be checked without it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as dump

from xai.errors import AnalysisError
from xai.robustness.bounds.elementwise import Rectifier
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.maximum import Maximum
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.boxes import Boxes
from xai.robustness.verify.checker.file import BOXES, CUTS, FORMAT, INPUT, KEY, LEAF, MIXED, WHOLE, Tensors, digest
from xai.robustness.verify.decide import Outcome, Proof, Verdict
from xai.robustness.verify.domains import Domain, Root, Split
from xai.robustness.verify.problem import SHARES
from xai.robustness.verify.property import Case, Property


def write_proof(
    path: Path,
    outcome: Outcome,
    wanted: Property,
    program: Program,
    fingerprint: str,
    arithmetic: Arithmetic = Arithmetic.REAL,
) -> None:
    """Write why a property holds to a file, which is there only when it is whole: see `proof_bytes`."""
    save(path, proof_bytes(outcome, wanted, program, fingerprint, arithmetic))


def proof_bytes(
    outcome: Outcome,
    wanted: Property,
    program: Program,
    fingerprint: str,
    arithmetic: Arithmetic = Arithmetic.REAL,
) -> bytes:
    """Return why a property holds, as a file of safetensors holds it.

    Args:
        outcome: of the search.
        wanted: the property.
        program: the steps that were searched.
        fingerprint: of the model; the proof is about no other.
        arithmetic: of the network that the search was about.

    Raises:
        AnalysisError: the outcome is no proof.
    """
    places = {proof.case: proof for proof in outcome.proofs}
    if outcome.verdict is not Verdict.HOLDS or sorted(places) != list(range(len(wanted.cases))):
        raise AnalysisError("expected an outcome that proves every case, received another: there is nothing to write")
    writer = _Writer(program)
    if not all(writer.knows(split) for proof in outcome.proofs for leaf in proof.leaves for split in leaf.splits):
        raise AnalysisError("a part was cut at a bend that is no ReLU: such a proof cannot be written yet")
    for number, case in enumerate(wanted.cases):
        writer.add(case, places[number])
    about = writer.about | {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "arithmetic": str(arithmetic),
        "property": wanted.name,
    }
    return packed(about, writer.tensors)


def _kind(leaves: Sequence[Domain]) -> str:
    """Return how parts were made by a search over activations, which may cut the input where nothing else is left.

    Their inner boxes are not the whole region's then.
    """
    if any(split.step == 0 for leaf in leaves for split in leaf.splits):
        return MIXED
    return CUTS if len(leaves) > 1 else WHOLE


def packed(about: Mapping[str, Any], tensors: Tensors) -> bytes:
    """Return a proof's metadata and numbers, with their digest."""
    own = {name: np.ascontiguousarray(part) for name, part in tensors.items()}
    text = json.dumps(dict(about) | {"digest": digest(about, own)}, sort_keys=True)
    return dump(own, {KEY: text})


def save(path: Path, content: bytes) -> None:
    """Write a proof; the file is there only when it is whole."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _Writer:
    """Collects the numbers of cases, of their regions, and of what cases of one region share."""

    def __init__(self, program: Program) -> None:
        self.tensors: dict[str, Any] = {}
        self._bent = {index: step for index, step in enumerate(program.steps) if isinstance(step.operation, Rectifier)}
        self._names = [step.name for step in self._bent.values()]
        self._maxima = [step for step in program.steps if isinstance(step.operation, Maximum)]
        self._entered = [(step.inputs[0], step.name) for step in (*self._bent.values(), *self._maxima)]
        self._value = {step.inputs[0]: place for place, step in enumerate(self._bent.values(), 1)}
        self._regions: dict[int, tuple[Inputs, int]] = {}
        self._roots: dict[int, tuple[Root, int]] = {}
        self._norms: list[str] = []
        self._of: list[int] = []
        self._cases: list[dict[str, Any]] = []

    @property
    def about(self) -> dict[str, Any]:
        """The metadata of what was collected."""
        maxima = [step.name for step in self._maxima]
        return {
            "rectifiers": self._names,
            "maxima": maxima,
            "regions": self._norms,
            "roots": self._of,
            "cases": self._cases,
        }

    def knows(self, split: Split) -> bool:
        """Whether a proof can say where it cuts: in the input, or in what enters a rectifier."""
        return split.step == 0 or split.step in self._value

    def add(self, case: Case, proof: Proof) -> None:
        """Add a case."""
        region = self._region(case.region)
        prefix = f"case.{len(self._cases)}"
        about = {"name": case.name, "way": proof.way, "region": region, "kind": BOXES}
        self._put(f"{prefix}.rows", case.matrix)
        self._put(f"{prefix}.limits", case.limits)
        leaves = self._tree(prefix, proof.leaves)
        if proof.way != Boxes.name:
            root = proof.root or Root()
            about |= {"kind": _kind(leaves), "root": self._root(root, region)}
            if "row" in leaves[0].state:
                self._chosen(prefix, leaves, root, len(case.matrix))
        self._cases.append(about)

    def _region(self, region: Inputs) -> int:
        if id(region) not in self._regions:
            place = len(self._norms)
            self._regions[id(region)] = region, place
            self._norms.append(str(region.norm))
            self._put(f"region.{place}.lower", region.box.lower.flatten())
            self._put(f"region.{place}.upper", region.box.upper.flatten())
            if not region.is_box and region.radius is not None:
                self._put(f"region.{place}.centre", region.centre.flatten())
                self._put(f"region.{place}.radius", region.radius.flatten())
        return self._regions[id(region)][1]

    def _root(self, root: Root, region: int) -> int:
        if id(root) not in self._roots:
            place = len(self._of)
            self._roots[id(root)] = root, place
            self._of.append(region)
            for step in sorted({kept.step for kept in root.kept}):
                self._kept(f"root.{place}", step, root)
        return self._roots[id(root)][1]

    def _kept(self, prefix: str, step: int, root: Root) -> None:
        """Add the slopes with which numbers that enter rectifiers and maxima were bounded."""
        kept = [one for one in root.kept if one.step == step]
        for name in (name for source, name in self._entered if source == step):
            own = f"{prefix}.{name}"
            self._put(f"{own}.numbers", torch.cat([one.numbers for one in kept]).int())
            self._put(f"{own}.signs", torch.cat([one.signs for one in kept]).to(torch.int8))
            self._shares(own, {key: torch.cat([one.shares[key] for one in kept]) for key in kept[0].shares}, root)

    def _shares(self, prefix: str, shares: Mapping[int, torch.Tensor], root: Root) -> None:
        """Add slopes (rows, ...) of those numbers of rectifiers that have a choice."""
        for step, part in shares.items():
            if step not in self._bent:
                continue
            flat, name = part.flatten(1), self._bent[step].name
            open_ = root.open[step].flatten() if step in root.open else torch.ones(flat.shape[1], dtype=torch.bool)
            self._put(f"{prefix}.places.{name}", open_.nonzero()[:, 0].int())
            self._put(f"{prefix}.slopes.{name}", flat[:, open_])

    def _chosen(self, prefix: str, leaves: Sequence[Domain], root: Root, rows: int) -> None:
        """Add for each leaf its row or mixture of rows, and the slopes and multipliers with which that is bounded."""
        self._put(f"{prefix}.row", torch.stack([leaf.state["row"][0] for leaf in leaves]).int())
        if any(leaf.state.get("weights") for leaf in leaves):
            none = torch.zeros(rows, dtype=torch.float64)
            mixtures = torch.stack([leaf.state.get("weights", {}).get(0, none) for leaf in leaves])
            self._put(f"{prefix}.mixtures", (mixtures * SHARES).to(torch.int16))
        free = [leaf.state["shares"] for leaf in leaves]
        blanks = {step: torch.zeros_like(part) for own in free for step, part in own.items()}  # where nothing bends
        whole = {step: torch.stack([own.get(step, blank) for own in free]) for step, blank in blanks.items()}
        self._shares(prefix, whole, root)
        self.tensors[f"{prefix}.prices"] = np.array([price for leaf in leaves for price in _prices(leaf)], dtype=float)

    def _tree(self, prefix: str, leaves: Sequence[Domain]) -> list[Domain]:
        """Add the tree of leaves' splits; return the leaves as it has them."""
        parts = list(_grown(leaves))
        splits = [part if isinstance(part, Split) else None for part in parts]
        values = [LEAF if split is None else INPUT if split.step == 0 else self._value[split.step] for split in splits]
        self.tensors[f"{prefix}.tree.value"] = np.array(values, dtype=np.int16)
        numbers = [split.number if split else 0 for split in splits]
        self.tensors[f"{prefix}.tree.number"] = np.array(numbers, dtype=np.int32)
        self.tensors[f"{prefix}.tree.at"] = np.array([split.at if split else 0.0 for split in splits], dtype=float)
        return [part for part in parts if isinstance(part, Domain)]

    def _put(self, name: str, part: torch.Tensor) -> None:
        self.tensors[name] = part.detach().cpu().numpy()


def _grown(leaves: Sequence[Domain]) -> Iterator[Split | Domain]:
    """Yield a tree's parts, each before both of its sides: where it is cut, or the leaf that it is."""
    waiting = [(0, list(leaves))]
    while waiting:
        depth, own = waiting.pop()
        if not own:
            raise AnalysisError(
                "expected parts that make up the whole region, received one side of a cut: a fault of xai"
            )
        if len(own) == 1 and len(own[0].splits) == depth:
            yield own[0]
            continue
        if any(len(leaf.splits) <= depth for leaf in own) or len({_cut(leaf.splits[depth]) for leaf in own}) > 1:
            raise AnalysisError("expected parts that were cut in the same place, received others: a fault of xai")
        yield own[0].splits[depth]
        sides = ([leaf for leaf in own if leaf.splits[depth].side == side] for side in (-1, 1))
        waiting += [(depth + 1, side) for side in sides]


def _cut(split: Split) -> tuple[int, int, float]:
    return split.step, split.number, split.at


def _prices(leaf: Domain) -> list[float]:
    """Return what a leaf pays for each of its splits: that which says most of a number has its price."""
    found = [0.0] * len(leaf.splits)
    of: dict[tuple[int, int], list[int]] = {}
    for place, split in enumerate(leaf.splits):
        of.setdefault((split.step, split.number), []).append(place)
    for (step, number), places in of.items():
        if step in leaf.state["prices"] and len({leaf.splits[place].side for place in places}) == 1:
            tightest = max(places, key=lambda place: leaf.splits[place].at * leaf.splits[place].side)
            found[tightest] = float(leaf.state["prices"][step].flatten()[number])
    return found
