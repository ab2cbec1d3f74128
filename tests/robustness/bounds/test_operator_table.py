"""The table of operators in the documentation, and that every operator in it was tried."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.conftest import ROOT
from tests.robustness.bounds.operators import CASES, small_network
from xai.models.layout import operator
from xai.robustness.bounds.relaxations.base import operator_table, relaxations, rules

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even")
FILE = ROOT / "docs" / "operators.md"
INTRODUCTION = """# Operators that can be bounded

What `xai bounds` can carry bounds through, a row a family of operators of the graph. Intervals are carried forwards,
linear bounds backwards; "exact" means that nothing is lost in that step. The last column is what is known of the
rounding of torch's own kernels: `--arithmetic float` adds it up, and refuses a network with an operator of which it is
not known. Bounds of real numbers (`--arithmetic real`) are about the network with its weights as they are stored and
no rounding. An operator that is not in the table ends an analysis with its name and its layer.

This file is generated: `pytest tests/robustness/bounds/test_operator_table.py --update-golden` writes it anew.

"""
# torch.export writes other operators for these today; files that others exported may hold them.
ELSEWHERE = {
    "_unsafe_view",
    "batch_norm",
    "chunk",
    "contiguous",
    "dropout",
    "feature_dropout",
    "flatten",
    "lift_fresh_copy",
    "movedim",
    "native_batch_norm",
    "tensor_split",
    "to",
    "_to_copy",
    "unflatten",
    "view",
}


def test_the_documented_table_is_what_the_rules_say(request: pytest.FixtureRequest) -> None:
    text = INTRODUCTION + operator_table()
    if request.config.getoption("--update-golden"):
        FILE.write_text(text, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text, "run pytest with --update-golden and look at the difference"


def test_every_operator_has_one_rule_and_exists() -> None:
    names = Counter(name for leaf in relaxations.all().values() for name in leaf.about.operators)
    assert [name for name, times in names.items() if times > 1] == []
    assert [name for name in names if not hasattr(torch.ops.aten, name)] == []


def test_every_operator_with_a_rule_is_in_a_small_network() -> None:
    nodes = [node for case in CASES for node in small_network(case)[1].module.graph.nodes]
    tried = {operator(node) for node in nodes if node.op == "call_function"}
    assert set(rules()) - tried <= ELSEWHERE
