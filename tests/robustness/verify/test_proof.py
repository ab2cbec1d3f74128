"""Proofs of random networks, as they are written: each is confirmed by the checker alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tests.robustness.verify.proofs import Proved, around, conjunction, convolutional, dense, pooling, proved
from xai.errors import AnalysisError
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.norms import Norm
from xai.robustness.verify.checker.check import State, check_proof
from xai.robustness.verify.checker.file import read
from xai.robustness.verify.decide import Outcome, Verdict
from xai.robustness.verify.domains import Domain, Split
from xai.robustness.verify.proof import write_proof

LEAKY = nn.LeakyReLU(0.1)
NETS = {
    "few inputs": lambda seed: proved(dense(4, seed), around((4,), 0.4, seed), 0.5, rows=2),
    "few inputs, leaky": lambda seed: proved(dense(4, seed, LEAKY), around((4,), 0.4, seed), 0.6),
    "many inputs, two cases": lambda seed: proved(dense(20, seed), around((20,), 0.3, seed), 0.6, rows=2, cases=2),
    "many inputs, leaky": lambda seed: proved(dense(20, seed, LEAKY), around((20,), 0.3, seed), 0.7),
    "convolutions with a shortcut": lambda seed: proved(convolutional(seed + 2), around((1, 8, 8), 0.3, seed), 0.8),
    "maxima": lambda seed: proved(pooling(seed), around((1, 8, 8), 0.1, seed), 0.7),
    "l2 ball": lambda seed: proved(dense(20, seed), around((20,), 0.9, seed, Norm.L2), 0.9),
    "l1 ball": lambda seed: proved(dense(20, seed), around((20,), 2.0, seed, Norm.L1), 0.97),
    "float32": lambda seed: proved(dense(20, seed), around((20,), 0.3, seed), 0.6, arithmetic=Arithmetic.FLOAT),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", NETS)
def test_every_proof_of_a_random_network_is_confirmed(kind: str, seed: int, tmp_path: Path) -> None:
    found = NETS[kind](seed)
    if found.outcome.verdict is not Verdict.HOLDS:
        pytest.skip("this property is violated")
    checked = check_proof(found.written(tmp_path / "a.proof"), found.model, found.wanted)
    assert checked.state is State.CHECKED, checked.text
    assert [case.leaves for case in checked.cases] == [len(proof.leaves) for proof in _in_order(found)]
    assert ("how float32 rounds was not checked" in checked.text) == (kind == "float32")


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_rows_that_are_never_met_at_once_are_refuted_by_a_mixture_that_is_confirmed(seed: int, tmp_path: Path) -> None:
    found = conjunction(seed, 0.1)
    assert found.outcome.verdict is Verdict.HOLDS, found.outcome
    leaves = [leaf for proof in found.outcome.proofs for leaf in proof.leaves]
    assert any(leaf.state.get("weights") for leaf in leaves)
    checked = check_proof(found.written(tmp_path / "a.proof"), found.model, found.wanted)
    assert checked.state is State.CHECKED, checked.text


def test_rows_that_are_met_at_once_are_not_refuted() -> None:
    assert conjunction(0, -0.05).outcome.verdict is Verdict.VIOLATED


@pytest.mark.parametrize(
    ("share", "way"), [(1.001, "CROWN"), (0.8, "alpha-CROWN"), (0.5, "activation splitting")], ids=str
)
def test_whole_regions_are_confirmed_as_well(share: float, way: str, tmp_path: Path) -> None:
    found = proved(dense(20, 1), around((20,), 0.3, 1), share)
    (proof,) = found.outcome.proofs
    assert proof.way == way
    assert check_proof(found.written(tmp_path / "a.proof"), found.model).state is State.CHECKED


def test_a_leaf_is_written_with_the_slopes_and_prices_that_its_bound_was_met_with(tmp_path: Path) -> None:
    found = proved(dense(20, 1), around((20,), 0.3, 1), 0.5)
    (proof,) = found.outcome.proofs
    assert proof.way == "activation splitting"
    (case,) = check_proof(found.written(tmp_path / "a.proof"), found.model).cases
    assert case.margin == pytest.approx(min(leaf.bound for leaf in proof.leaves), rel=1e-6, abs=1e-9)


def test_the_margin_of_boxes_is_the_one_that_the_search_found(tmp_path: Path) -> None:
    found = proved(dense(4, 0), around((4,), 0.4, 0), 1.001)
    (proof,) = found.outcome.proofs
    (case,) = check_proof(found.written(tmp_path / "a.proof"), found.model).cases
    assert len(proof.leaves) == 1
    assert case.margin == pytest.approx(proof.leaves[0].bound, rel=1e-6, abs=1e-9)


def test_slopes_take_a_byte_each(tmp_path: Path) -> None:
    found = proved(dense(20, 1), around((20,), 0.3, 1), 0.5)
    tensors = read(found.written(tmp_path / "a.proof")).tensors
    slopes = [part for name, part in tensors.items() if ".slopes." in name]
    assert slopes
    assert all(part.dtype == np.uint8 for part in slopes)


def test_leaves_that_do_not_make_up_the_region_are_not_written(tmp_path: Path) -> None:
    found = proved(dense(4, 0), around((4,), 0.4, 0), 0.5)
    (proof,) = found.outcome.proofs
    assert len(proof.leaves) == 2
    for leaves in (proof.leaves[1:], (*proof.leaves[1:], Domain((Split(0, 1, 0.123, 1),)))):
        broken = Outcome(**{**vars(found.outcome), "proofs": (type(proof)(0, proof.way, leaves, proof.root),)})
        with pytest.raises(AnalysisError, match=r"whole region|same place"):
            write_proof(tmp_path / "a.proof", broken, found.wanted, found.program, found.model.fingerprint)
    assert not list(tmp_path.iterdir())


def test_cuts_at_bends_that_are_no_relu_are_not_written(tmp_path: Path) -> None:
    found = proved(dense(20, 1, nn.Hardtanh(-0.5, 0.5)), around((20,), 0.3, 1), 0.5)
    assert any(leaf.splits for proof in found.outcome.proofs for leaf in proof.leaves)
    with pytest.raises(AnalysisError, match="no ReLU"):
        found.written(tmp_path / "a.proof")
    assert not list(tmp_path.iterdir())


def test_what_is_no_proof_is_not_written(tmp_path: Path) -> None:
    found = proved(dense(4, 0), around((4,), 0.4, 0), 0.5)
    for outcome in (Outcome(Verdict.NOT_DECIDED, "", 0.0), Outcome(Verdict.HOLDS, "CROWN", 0.0)):
        with pytest.raises(AnalysisError, match="nothing to write"):
            write_proof(tmp_path / "a.proof", outcome, found.wanted, found.program, found.model.fingerprint)


def _in_order(found: Proved) -> list:
    return sorted(found.outcome.proofs, key=lambda proof: proof.case)
