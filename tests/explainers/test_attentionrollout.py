"""Attention rollout against a plain second version with hooks, in every form that attention has in a graph."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.explainers.test_cams import vision_transformer
from tests.networks import Mlp, Small, seeded
from xai.api import explain, load
from xai.explainers.attentionrollout import rollout
from xai.models.attention import attentions
from xai.models.model import Model


class Block(nn.Module):
    """A transformer's block; its attention may be fused, written out, or torch's own with its weights asked for."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.norm = nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mask = nn.Buffer(torch.rand(18, 18) > 0.2) if how == "masked" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        if self.how == "weights":
            return x + self.attention(normed, normed, normed, need_weights=True)[0]
        parts = F.linear(normed, self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, v = parts.unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        if self.how == "written":
            mixed = ((q * 0.7) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        elif self.how == "masked":
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=0.3)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.attention.out_proj(mixed.transpose(1, 2).flatten(2))

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weights (heads, tokens, tokens) by hand."""
        parts = F.linear(self.norm(x), self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, _ = parts.view(x.shape[1], 3, 3, 4).permute(1, 2, 0, 3)
        scores = q @ k.transpose(-2, -1) * {"written": 0.7, "masked": 0.3}.get(self.how, 0.5)
        return (scores if self.mask is None else scores.masked_fill(~self.mask, -torch.inf)).softmax(dim=-1)


class Vit(nn.Module):
    """Two tokens before 4 x 4 patches; the answer is read from the first token, or from the mean over the patches."""

    def __init__(self, how: str, *, pooled: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, 2, 12))
        self.blocks = nn.Sequential(*(Block(how) for _ in range(3)))
        self.head = nn.Linear(12, 3)
        self.pooled = pooled
        for block in self.blocks:
            nn.init.normal_(block.attention.in_proj_weight)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.extra.expand(x.shape[0], -1, -1), self.patch(x).flatten(2).transpose(1, 2)], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.blocks(self.tokens(x))
        return self.head(tokens[:, 2:].mean(1) if self.pooled else tokens[:, 0])


def plain_rollout(network: Vit, x: torch.Tensor, fuse: str) -> np.ndarray:
    """Return the matrix (tokens, tokens) with hooks, in numpy."""
    seen: list[np.ndarray] = []
    with torch.no_grad():
        handles = [
            block.register_forward_pre_hook(lambda block, given: seen.append(block.weights(given[0]).double().numpy()))
            for block in network.blocks
        ]
        network(x[None])
    for handle in handles:
        handle.remove()
    matrix = np.eye(18)
    for heads in seen:
        fused = getattr(heads, fuse)(axis=0) + np.eye(18)
        matrix = (fused / fused.sum(axis=1, keepdims=True)) @ matrix
    return matrix


def followed(model: Model, x: torch.Tensor, **parameters: str):
    return explain(model, x, methods="attentionrollout", measures="none", parameters={"attentionrollout": parameters})[
        "attentionrollout"
    ]


def fine(row: np.ndarray) -> torch.Tensor:
    grid = torch.from_numpy(row[2:]).view(1, 1, 4, 4)
    return F.interpolate(grid, size=(16, 16), mode="bilinear", align_corners=False)[0, 0]


@pytest.mark.parametrize("how", ["fused", "written", "masked", "weights"])
@pytest.mark.parametrize("fuse", ["mean", "max", "min"])
def test_it_equals_a_plain_second_version_with_hooks(how: str, fuse: str, noise: torch.Tensor) -> None:
    network = seeded(lambda: Vit(how))
    expected = plain_rollout(network, noise, fuse)[0]
    found = followed(load(network, shape=(3, 16, 16)), noise, heads=fuse)
    np.testing.assert_allclose(found.map, fine(expected), atol=1e-6)
    assert found.record.parameters["read from"] == "the first token"
    assert found.record.parameters["layers"] == 3
    assert found.record.values["on the patches"].value == pytest.approx(expected[2:].sum(), abs=1e-6)


def test_where_no_token_is_read_alone_it_is_the_mean_over_the_patches(noise: torch.Tensor) -> None:
    network = seeded(lambda: Vit("fused", pooled=True))
    expected = plain_rollout(network, noise, "mean")[2:].mean(axis=0)
    found = followed(load(network, shape=(3, 16, 16)), noise)
    np.testing.assert_allclose(found.map, fine(expected), atol=1e-6)
    assert found.record.parameters["read from"] == "the mean over all patches"


@pytest.mark.parametrize("kind", ["TorchScript", "ONNX"])
def test_other_forms_of_a_vision_transformer_give_the_same_map(kind: str, tmp_path: Path) -> None:
    network, path = seeded(vision_transformer), tmp_path / "net"
    x = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(5))
    live = followed(load(network, shape=(3, 32, 32)), x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own code
        if kind == "ONNX":
            torch.onnx.export(network, (x[None],), path, dynamo=True, verbose=False, external_data=False)
        else:
            torch.jit.save(torch.jit.trace(network, x[None], check_trace=False), path)
    np.testing.assert_allclose(live.map, followed(load(path, shape=(3, 32, 32)), x).map, atol=1e-6)


def test_it_equals_torchs_own_weights_on_torchvisions_transformer() -> None:
    network = seeded(vision_transformer)
    x = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(5))
    seen: list[torch.Tensor] = []
    handles = [
        layer.ln_1.register_forward_hook(
            lambda _, __, y, one=layer.self_attention: seen.append(one(y, y, y, average_attn_weights=False)[1][0])
        )
        for layer in network.encoder.layers
    ]
    with torch.no_grad():
        network(x[None])
    for handle in handles:
        handle.remove()
    expected = rollout(seen, "mean")[0, 1:].view(1, 1, 4, 4)
    wanted = F.interpolate(expected, size=(32, 32), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(followed(load(network, shape=(3, 32, 32)), x).map, wanted, atol=1e-6)


def test_rows_are_shares_and_heads_that_look_at_themselves_change_nothing() -> None:
    own = [torch.eye(5).expand(2, 5, 5)] * 3
    torch.testing.assert_close(rollout(own, "mean"), torch.eye(5).double())
    mixed = [torch.rand(2, 5, 5).softmax(dim=-1) for _ in range(3)]
    torch.testing.assert_close(rollout(mixed, "max").sum(dim=1), torch.ones(5).double())


def test_it_is_one_map_for_all_targets(noise: torch.Tensor) -> None:
    model = load(seeded(lambda: Vit("fused")), shape=(3, 16, 16))
    (found,) = explain(model, noise, methods="attentionrollout", measures="randomisation", top=3).findings
    assert found.target is None
    assert found.id == "attentionrollout/image"
    assert found.trust[0].speaks == "against", "a map that knows no class does not depend on the head"


def test_networks_without_attention_over_the_whole_picture_are_skipped_with_the_reason(noise: torch.Tensor) -> None:
    from torchvision.models.swin_transformer import SwinTransformer

    swin = seeded(lambda: SwinTransformer([4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=7))
    cases = {
        "no attention": (seeded(Small), (3, 16, 16)),
        "shows no attention": (Mlp(), (3, 12, 10)),
        "as within windows": (swin, (3, 32, 32)),
    }
    for words, (network, shape) in cases.items():
        found = followed(load(network, shape=shape), torch.rand(shape)).record
        assert found.status == "skipped"
        assert words in found.reason


def test_every_attention_of_a_large_network_is_found() -> None:
    from tests.architectures import open_network

    assert [one.tokens for one in attentions(open_network("vit_b_16").graph)] == [(1, (8, 8))] * 12


def test_the_same_picture_has_the_same_map_wherever_it_stands_and_no_state_is_left() -> None:
    model = load(seeded(lambda: Vit("fused")), shape=(3, 16, 16))
    pictures = list(torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0)))
    state = torch.get_rng_state()
    forth, back = (
        [found.map for found in explain(model, order, methods="attentionrollout", measures="none", seed=5)]
        for order in (pictures, pictures[::-1])
    )
    assert np.array_equal(forth, back[::-1])
    assert torch.equal(state, torch.get_rng_state())
    assert not any(parameter.grad is not None for parameter in model.graph.module.parameters())
