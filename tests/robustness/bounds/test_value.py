"""The steps computed in float64, and what several questions of one region share."""

from __future__ import annotations

import torch

import xai
from tests.robustness.bounds.test_methods import SHAPE, Residual
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.norms import Norm


def test_the_steps_compute_in_float64_what_the_network_does_in_float64() -> None:
    torch.manual_seed(0)
    net = Residual().eval()
    bounding = Bounding(xai.load(net, example=torch.rand(1, *SHAPE)), bounders.get("crown")())
    x = torch.rand(5, *SHAPE)
    torch.testing.assert_close(bounding.program.value(x), net.double()(x.double()), rtol=1e-12, atol=1e-12)


def test_an_analysis_that_is_asked_twice_says_what_two_say() -> None:
    torch.manual_seed(0)
    model = xai.load(Residual().eval(), example=torch.rand(1, *SHAPE))
    x = torch.rand(3, *SHAPE)
    answers = model(x).argmax(1)
    for method in bounders.all().values():
        bounding = Bounding(model, method())
        inputs = bounding.inputs(x, Norm.LINF, 0.02)
        shared = bounding.analysis(inputs)
        bounds, leads = bounding.outputs(shared), bounding.leads(shared, answers)
        assert torch.equal(bounds.lower, bounding.outputs(inputs).lower)
        assert torch.equal(bounds.upper, bounding.outputs(inputs).upper)
        assert torch.equal(leads, bounding.leads(inputs, answers))


def test_bisection_begins_where_it_is_told_to() -> None:
    torch.manual_seed(0)
    model = xai.load(Residual().eval(), example=torch.rand(1, *SHAPE))
    x = torch.rand(4, *SHAPE)
    answers, bounding = model(x).argmax(1), Bounding(model, bounders.get("crown")())
    low, high = bounding.largest(x, answers, Norm.LINF, 0.5, 14)
    near, beyond = bounding.largest(x, answers, Norm.LINF, high * 1.01, 14, low * 0.99)
    torch.testing.assert_close(near, low, rtol=1e-2, atol=1e-4)
    assert bool((near < beyond).all())
    assert bool(bounding.certified(bounding.inputs(x, Norm.LINF, near), answers).all())
