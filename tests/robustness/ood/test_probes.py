"""Outliers that need no data: of the same shape and range, and what they say they are."""

from __future__ import annotations

import pytest
import torch

from xai.errors import NotApplicableError, UsageError
from xai.models.card import Input
from xai.robustness.ood.probes import PROBES, make_probe
from xai.runtime import Runtime


def pictures(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return low + (high - low) * x.cumsum(-1) / x.sum(-1, keepdim=True)


def probed(name: str, x: torch.Tensor, seed: int = 0, keys: list[str] | None = None, **spec: object) -> torch.Tensor:
    declared = Input(shape=tuple(x.shape[1:]), **spec)  # type: ignore[arg-type]  # fields by name
    return make_probe(name, x, declared, Runtime(seed=seed), keys or [str(number) for number in range(len(x))])


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 20, 33), (2, 7, 5, 4)])
@pytest.mark.parametrize("span", [(0.0, 1.0), (-2.0, 3.0)])
def test_shape_type_and_range_are_kept_and_nothing_stays_as_it_was(
    name: str, shape: tuple[int, ...], span: tuple[float, float]
) -> None:
    x = pictures(*shape, low=span[0], high=span[1])
    before = x.clone()
    found = probed(name, x, range=span)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    assert span[0] <= found.min() <= found.max() <= span[1]
    assert torch.equal(x, before)
    assert not torch.allclose(found, x)


@pytest.mark.parametrize("name", PROBES)
def test_an_outlier_follows_from_seed_and_key_alone(name: str) -> None:
    x, state = pictures(3, 3, 12, 12), torch.get_rng_state()
    found = probed(name, x, keys=["a", "b", "c"])
    turned = probed(name, x.flip(0), keys=["c", "b", "a"])
    assert torch.equal(turned.flip(0), found)
    assert torch.equal(probed(name, x[1:2], keys=["b"])[0], found[1])
    assert torch.equal(torch.get_rng_state(), state)
    if name in ("noise", "gaussian noise", "constant", "pixel shuffle"):
        assert not torch.equal(probed(name, x, seed=1, keys=["a", "b", "c"]), found)
        assert not torch.equal(probed(name, x[[0, 0]], keys=["a", "b"])[0], probed(name, x[[0, 0]], keys=["a", "b"])[1])


def test_probes_are_what_they_say() -> None:
    x = pictures(2, 3, 12, 12, low=-1.0)
    assert torch.allclose(probed("inversion", x, range=(-1, 1)), -x, atol=1e-6)
    assert torch.allclose(probed("dim shift", x, range=(-1, 1)), ((x + 1) / 2 * 0.3 + 0.1) * 2 - 1, atol=1e-6)
    assert torch.allclose(probed("rotation", x, range=(-1, 1)), x.rot90(1, (2, 3)), atol=1e-6)
    constant = probed("constant", x, range=(-1, 1))
    assert torch.equal(constant, constant[:, :, :1, :1].expand_as(constant))
    shuffled = probed("pixel shuffle", x, range=(-1, 1))
    assert torch.allclose(shuffled.flatten(2).sort(2).values, x.flatten(2).sort(2).values, atol=1e-6)
    assert (
        len(
            {tuple(place) for place in shuffled[0].flatten(1).T.round(decimals=4).tolist()}
            & {tuple(place) for place in x[0].flatten(1).T.round(decimals=4).tolist()}
        )
        > 100
    ), "the channels of a place stay together"
    blurred = probed("blur", x, range=(-1, 1))
    assert float(blurred.diff(dim=-1).abs().mean()) < float(x.diff(dim=-1).abs().mean())
    flat = torch.full((1, 3, 12, 12), 0.3)
    assert torch.allclose(probed("blur", flat), flat, atol=1e-6)


def test_what_is_no_picture_gets_the_probes_that_need_no_rows() -> None:
    x = torch.rand(3, 40, generator=torch.Generator().manual_seed(1))
    for name, probe in PROBES.items():
        if probe.plane:
            with pytest.raises(NotApplicableError, match="it needs rows and columns"):
                probed(name, x, range=(0.0, 1.0))
        else:
            assert probed(name, x, range=(0.0, 1.0)).shape == x.shape


def test_bad_input_is_refused() -> None:
    x = pictures(2, 1, 8, 8)
    with pytest.raises(UsageError, match="there is no probe 'nothing'"):
        probed("nothing", x)
    with pytest.raises(UsageError, match="a key for each of 2 inputs, received 1"):
        probed("noise", x, keys=["a"])
    with pytest.raises(NotApplicableError, match=r"the card gives none: input\.range"):
        probed("noise", x, range=None)
