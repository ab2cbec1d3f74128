"""Networks as steps: what has no rule is named, and what the steps compute is what the network computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.robustness.bounds.nets import lowered
from tests.robustness.bounds.operators import Applied
from xai.errors import AnalysisError
from xai.robustness.bounds.affine import Arranged
from xai.robustness.bounds.relaxations.base import Builder, UnboundedError

SHAPE = (4, 6, 6)

REFUSED = {
    "sign in layer 0: there is no rule": torch.sign,
    "upsample_bicubic2d in layer 0: there is no rule": lambda x: F.interpolate(x, (9, 9), mode="bicubic"),
    "threshold in layer 0: a function that jumps": lambda x: F.threshold(x, 0.1, 0.0),
    "pow in layer 0: an exponent that is not one number": lambda x: x ** x.flip(1),
    "where in layer 0: a choice that depends on the input|gt in layer 0: there is no rule": lambda x: torch.where(
        x > 0.3, x, 0.0
    ),
    "gather in layer 0: what it reads is not bounded": lambda x: x.gather(1, x.max(1, keepdim=True)[1]),
    "clamp in layer 0: ends that depend on the input": lambda x: torch.clamp(x, x.flip(1), x + 1),
    "batch_norm.*: it takes its figures from the batch|there is no rule": nn.BatchNorm2d(4, track_running_stats=False),
    "scaled_dot_product_attention in layer 0: a mask that leaves nothing": lambda x: F.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.eye(6) * torch.arange(6) > 0
    ),
    "linalg_vector_norm in layer 0: a norm of order 3": lambda x: x.norm(3, dim=1),
    "sum in layer 0: sums in torch.float64": lambda x: x.sum(1, dtype=torch.float64).float(),
    "div in layer 0: a quotient that is cut to an integer": lambda x: torch.div(x, 2, rounding_mode="floor"),
    "_to_copy in layer 0: numbers in torch.int64": lambda x: F.embedding((9 * x).long().clamp(0, 3), torch.rand(4, 2)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_bounded_is_refused_by_operator_and_layer(message: str) -> None:
    heart = REFUSED[message]
    net = nn.Sequential(heart if isinstance(heart, nn.Module) else Applied(heart), nn.Flatten())
    with pytest.raises(UnboundedError, match=message):
        lowered(net, SHAPE)


def test_an_affine_step_whose_gradient_is_not_its_own_is_caught() -> None:
    builder = Builder(torch.rand(1, 3))
    with pytest.raises(AnalysisError, match="its gradient is not its own"):
        builder.add(Arranged(lambda x: x.detach() + 0 * x, [(1, 3)], alone=True), builder.input)


def test_copies_add_no_step_and_keep_what_goes_through_them() -> None:
    net = nn.Sequential(Applied(lambda x: x.detach().clone().contiguous() * 2), nn.Dropout(), nn.Flatten())
    _, steps = lowered(net, SHAPE)
    assert [type(step.operation).__name__ for step in steps.steps] == ["NoneType", "Scale", "Arranged"]
