"""A small network for every operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from tests.robustness.bounds.nets import lowered
from xai.models.graph import Graph
from xai.robustness.bounds.program import Program

PICTURE = (4, 6, 6)
Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """An operator, and a network that it is the heart of.

    Args:
        name: of the case.
        heart: what is applied to (batch, 4, 6, 6).
        shift: is added to the numbers before; 3 makes all of them positive.
        known: whether the rounding in float32 is.
    """

    name: str
    heart: Function
    shift: float = 0.0
    known: bool = True


class Surrounded(nn.Module):
    """A case's operator between two layers that make its inputs and outputs depend on each other."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.before = nn.Conv2d(4, 4, 3, padding=1)
        self.heart = case.heart if isinstance(case.heart, nn.Module) else Applied(case.heart)
        self.shift = case.shift
        with torch.no_grad():
            outputs = self.heart(self.first(torch.zeros(2, *PICTURE))).flatten(1).shape[1]
        self.after = nn.Linear(outputs, 3)

    def first(self, x: torch.Tensor) -> torch.Tensor:
        """Return what enters the operator."""
        return 2 * self.before(x) + self.shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return three outputs."""
        return self.after(self.heart(self.first(x)).flatten(1))  # type: ignore[no-any-return]  # modules are untyped


@cache
def small_network(case: Case) -> tuple[nn.Module, Graph, Program]:
    """Return a case's network with seeded weights, its graph and its steps."""
    torch.manual_seed(0)
    net = Surrounded(case).eval()
    return net, *lowered(net, PICTURE)


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return it."""
        return self.function(x)


class Weights(nn.Module):
    """Products with constants that are written in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.cube = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(4, 6, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return their sum."""
        left = self.square @ x + x @ self.square
        return torch.cat([left @ self.cube, (x[:, :1] @ self.cube), torch.einsum("bchw,cwk->bchk", x, self.cube)], 1)


class Attention(nn.Module):
    """A layer of a transformer, its tokens the rows of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True, activation="gelu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tokens."""
        return self.layer(x[:, 0])  # type: ignore[no-any-return]  # modules are untyped


def normed(norm: nn.Module) -> nn.Module:
    """Return a normalisation with weights and figures that are not 1 and 0."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in norm.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else 0.0))
    return norm


def _transposed(x: torch.Tensor) -> torch.Tensor:
    return torch.maximum(x, 0.5 * x.mT)


def joined(*parts: torch.Tensor) -> torch.Tensor:
    """Return parts as one row each."""
    return torch.cat([part.flatten(1) for part in parts], 1)


aten = torch.ops.aten
COLUMN = torch.tensor([[[-0.2]], [[0.1]], [[0.0]], [[0.3]]])
NUMBERS = torch.Generator().manual_seed(0)
VECTOR = torch.rand(4, generator=NUMBERS)
VARIANCE = VECTOR + 1
SQUARE = torch.randn(6, 6, generator=NUMBERS)
KERNEL = torch.randn(4, 2, 3, 3, generator=NUMBERS)
EYE = torch.eye(6, dtype=torch.bool)

CASES = (
    # functions of one number
    Case("relu", F.relu),
    Case("leaky_relu", nn.LeakyReLU(0.1)),
    Case("prelu", nn.PReLU(4, -0.2)),
    Case("rrelu", nn.RReLU()),
    Case("hardtanh", nn.Hardtanh(-0.3, 0.7)),
    Case("relu6", nn.ReLU6()),
    Case("clamp", lambda x: x.clamp(-0.1, 0.1)),
    Case("clamp to one side", lambda x: x.clamp(max=0.1) + x.clamp_min(0.05) + torch.clamp_max(x, 0.2)),
    Case("clamp to tensors", lambda x: x.clamp(COLUMN, COLUMN + 0.2)),
    Case("threshold", nn.Threshold(0.1, 0.1)),
    Case("hardsigmoid", lambda x: F.hardsigmoid(8 * x)),
    Case("hardswish", lambda x: F.hardswish(4 * x)),
    Case("elu", nn.ELU(1.7)),
    Case("celu", nn.CELU(0.4)),
    Case("selu", nn.SELU()),
    Case("silu", lambda x: F.silu(4 * x)),
    Case("gelu", lambda x: F.gelu(3 * x)),
    Case("gelu by tanh", nn.GELU("tanh")),
    Case("mish", lambda x: F.mish(4 * x)),
    Case("softplus", nn.Softplus(2.0, 3.0)),
    Case("log_sigmoid", nn.LogSigmoid()),
    Case("softsign", nn.Softsign()),
    Case("tanhshrink", nn.Tanhshrink()),
    Case("glu", nn.GLU(1)),
    Case("sigmoid", lambda x: torch.sigmoid(5 * x)),
    Case("tanh", nn.Tanh()),
    Case("erf", torch.erf),
    Case("atan", torch.atan),
    Case("sin", lambda x: torch.sin(5 * x)),
    Case("cos", lambda x: torch.cos(20 * x)),
    Case("exp", torch.exp),
    Case("expm1", torch.expm1),
    Case("log", torch.log, shift=6.0),
    Case("log1p", torch.log1p, shift=6.0),
    Case("sqrt", torch.sqrt, shift=6.0),
    Case("rsqrt", torch.rsqrt, shift=6.0),
    Case("abs", torch.abs),
    Case("square", torch.square),
    Case("cube", lambda x: x**3),
    Case("inverse square", lambda x: x**-2, shift=6.0),
    Case("inverse of negative numbers", lambda x: x**-1, shift=-6.0),
    Case("power 1.5", lambda x: x**1.5, shift=6.0, known=False),
    # arithmetic
    Case("sums", lambda x: 0.3 - x + x.flip(1) - torch.sub(x, x.mT, alpha=2) + COLUMN + (-x)),
    Case("product of two", lambda x: x * x.mT),
    Case("product with itself", lambda x: x * x),
    Case("products with constants", lambda x: 0.3 * x + COLUMN * x + x / 3 + x / (COLUMN + 5)),
    Case("quotient of two", lambda x: x / (x.flip(1).square() + 1)),
    Case("quotient by negative numbers", lambda x: (x + 6) / x, shift=-6.0),
    Case("reciprocal", torch.reciprocal, shift=6.0),
    Case("maximum of two", _transposed),
    Case("minimum of two", lambda x: torch.minimum(x, x.flip(1)) + torch.fmin(x, x.mT)),
    Case("maximum with a constant", lambda x: torch.maximum(x, COLUMN) + torch.minimum(COLUMN, x)),
    # matrices
    Case("linear", nn.Linear(6, 3)),
    Case("products with matrices", Weights()),
    Case("matrix product of two", lambda x: x @ x.mT),
    Case("matrix product with one axis repeated", lambda x: x[:, :1] @ x),
    Case("einsum of two", lambda x: torch.einsum("bchw,bcvw->bhv", x, x)),
    Case("einsum of one", lambda x: torch.einsum("bchw->bwc", x)),
    Case("conv", nn.Conv2d(4, 2, 3, stride=2, padding=1, dilation=2, groups=2)),
    Case("conv same", nn.Conv2d(4, 2, (4, 3), padding="same")),
    Case("conv valid", nn.Conv2d(4, 2, 2, padding="valid")),
    Case("conv of one axis", nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 2, 5))),
    Case("conv of three axes", nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv3d(1, 2, (2, 3, 2)))),
    Case("conv transposed", nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1, groups=2)),
    Case("conv circular", nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular")),
    Case("conv reflected", nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect")),
    # pooling
    Case("max_pool", nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
    Case("max_pool dilated", nn.MaxPool2d(2, 1, dilation=2)),
    Case("max_pool with indices", lambda x: F.max_pool2d(x, 2, return_indices=True)[0]),
    Case("max_pool of one axis", lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1)),
    Case("max_pool of three axes", lambda x: F.max_pool3d(x[:, None], 2)),
    Case("adaptive_max_pool", nn.AdaptiveMaxPool2d(4)),
    Case("avg_pool", nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    Case("avg_pool without padding", nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
    Case("avg_pool with a divisor", lambda x: F.avg_pool2d(x, 2, divisor_override=3)),
    Case("avg_pool of one axis", lambda x: F.avg_pool1d(x.flatten(2), 3)),
    Case("avg_pool of three axes", lambda x: F.avg_pool3d(x[:, None], 2)),
    Case("adaptive_avg_pool", nn.AdaptiveAvgPool2d(4)),
    Case("adaptive_avg_pool to one", nn.AdaptiveAvgPool2d(1)),
    Case("adaptive_avg_pool of one axis", lambda x: F.adaptive_avg_pool1d(x.flatten(2), 5)),
    Case("adaptive_avg_pool of three axes", lambda x: F.adaptive_avg_pool3d(x[:, None], 3)),
    # along axes
    Case("amax", lambda x: x.amax((2, 3)) + x.amax((1, 3), keepdim=True)[:, 0, :4, 0]),
    Case("amin", lambda x: x.amin((2, 3))),
    Case("max along an axis", lambda x: x.max(1)[0] + x.max(1, keepdim=True)[0][:, 0]),
    Case("min along an axis", lambda x: x.min(2).values),
    Case("mean", lambda x: x.mean((2, 3), keepdim=True) + x.mean(-1, keepdim=True)),
    Case("sum", lambda x: x.sum(1)),
    Case("cumsum", lambda x: x.cumsum(2)),
    Case("var", lambda x: x.var(1) + x.var((1, 3), correction=0, keepdim=True)[:, 0], known=False),
    Case("std", lambda x: x.std(1), known=False),
    Case("norm", lambda x: x.norm(dim=1) + x.norm(1, dim=1), known=False),
    Case("normalize", F.normalize, known=False),
    Case("logsumexp", lambda x: x.logsumexp(1)),
    # shares and norms
    Case("softmax", lambda x: (3 * x).softmax(1)),
    Case("softmin", nn.Softmin(3)),
    Case("log_softmax", lambda x: (3 * x).log_softmax(2)),
    Case("batch_norm", normed(nn.BatchNorm2d(4))),
    Case("layer_norm", normed(nn.LayerNorm(6)), known=False),
    Case("layer_norm over two axes", normed(nn.LayerNorm((6, 6))), known=False),
    Case("group_norm", normed(nn.GroupNorm(2, 4)), known=False),
    Case("instance_norm", normed(nn.InstanceNorm2d(4, affine=True)), known=False),
    Case("instance_norm by figures", normed(nn.InstanceNorm2d(4, track_running_stats=True))),
    Case("rms_norm", normed(nn.RMSNorm(6, eps=1e-5)), known=False),
    Case("local response norm", nn.LocalResponseNorm(3), known=False),
    Case("attention", lambda x: F.scaled_dot_product_attention(x, x.mT, x + 1, scale=2.0), known=False),
    Case("causal attention", lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), known=False),
    Case(
        "masked attention",
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.eye(6).roll(1, 0) + EYE > 0),
        known=False,
    ),
    Case(
        "weighted attention",
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(6, 6).masked_fill(EYE, -torch.inf)),
        known=False,
    ),
    Case("transformer layer", Attention(), known=False),
    # numbers moved
    Case("upsample to the nearest", nn.Upsample(scale_factor=1.7)),
    Case("upsample bilinear", nn.Upsample(size=(9, 7), mode="bilinear"), known=False),
    Case("upsample bilinear to corners", nn.Upsample(size=(9, 7), mode="bilinear", align_corners=True), known=False),
    Case("upsample linear", lambda x: F.interpolate(x.flatten(2), scale_factor=2, mode="linear"), known=False),
    Case("antialiased", lambda x: F.interpolate(x, (4, 4), mode="bilinear", antialias=True), known=False),
    Case(
        "pads", lambda x: F.pad(F.pad(F.pad(x, (1, 1), value=0.3), (1, 1, 1, 1), "replicate"), (1, 0, 1, 0), "reflect")
    ),
    Case("unfold", nn.Unfold(3)),
    Case("fold", lambda x: F.fold(F.unfold(x, 3), (6, 6), 3)),
    Case("windows of an axis", lambda x: x.unfold(2, 3, 1)),
    Case("index", lambda x: x[:, [2, 0, 0]][:, :, 1:5:2, None]),
    Case("gather", lambda x: x.gather(3, (COLUMN > 0).long().expand(4, 6, 2).expand_as(x[..., :2]))),
    Case("parts", lambda x: torch.cat([*x.chunk(2, 1)[::-1], torch.stack(x.unbind(3), 1)[:, :2], *x.split(2, 1)], 2)),
    Case("roll and flip", lambda x: x.roll((1, 2), (2, 3)).flip(1).movedim(1, 3).tril()),
    Case("where", lambda x: torch.where(EYE, x, -2 * x).masked_fill(EYE.roll(1, 0), 0.3)),
    Case("written in place", lambda x: torch.slice_scatter(x, 2 * x[:, :1], 1, 1, 2)),
    Case("shuffles", lambda x: F.pixel_shuffle(F.channel_shuffle(x, 2), 2).repeat(1, 2, 1, 1)),
    # what an exporter may write instead
    Case(
        "largest numbers by other names",
        lambda x: joined(
            aten.adaptive_max_pool1d(x.flatten(2), 5)[0],
            aten.adaptive_max_pool3d(x[:, None], [2, 2, 4])[0],
            aten.max_pool1d_with_indices(x.flatten(2), 3)[0],
            aten.max_pool3d_with_indices(x[:, None], 2)[0],
            aten.relu6(x),
            aten.fmax(x, x.flip(1)),
            aten._prelu_kernel(x, COLUMN.to(x)),
        ),
    ),
    Case(
        "averages by other names",
        lambda x: joined(aten._adaptive_avg_pool2d(x, [4, 4]), aten._adaptive_avg_pool3d(x[:, None], [3, 2, 4])),
    ),
    Case("shares by other names", lambda x: aten._softmax(x, 1, False) + aten._log_softmax(x, 1, False)),
    Case("norms by other names", lambda x: aten.native_layer_norm(x, [6], None, None, 1e-5)[0], known=False),
    Case(
        "figures by other names",
        lambda x: joined(
            aten.batch_norm(x, VECTOR.to(x), VECTOR.to(x), VECTOR.to(x), VARIANCE.to(x), False, 0.1, 1e-5, False),
            aten.native_batch_norm(x, VECTOR.to(x), VECTOR.to(x), VECTOR.to(x), VARIANCE.to(x), False, 0.1, 1e-5)[0],
        ),
    ),
    Case(
        "matrices by other names",
        lambda x: joined(
            aten.mm(x[:, 0, 0], SQUARE.to(x)),
            aten.addmm(SQUARE.to(x)[0], x[:, 0, 0], SQUARE.to(x)),
            aten.bmm(x[:, 0], x[:, 1]),
            aten.convolution(x, KERNEL.to(x), VECTOR.to(x), [1, 2], [1, 1], [1, 1], False, [0, 0], 2),
            aten.convolution(x, KERNEL.to(x), None, [2, 2], [1, 1], [1, 1], True, [1, 1], 2),
            F.conv_transpose1d(x[:, 0], SQUARE.to(x)[..., None], stride=2),
            F.conv_transpose3d(x[:, None], KERNEL.to(x)[None, :1]),
        ),
    ),
    Case(
        "pads by other names",
        lambda x: joined(
            aten.constant_pad_nd(x, [1, 0, 2, 1], 0.5),
            aten.reflection_pad1d(x[:, 0], [1, 2]),
            aten.reflection_pad2d(x, [1, 2, 0, 3]),
            aten.replication_pad1d(x[:, 0], [1, 2]),
            aten.replication_pad2d(x, [1, 2, 0, 3]),
        ),
    ),
    Case(
        "nearest numbers by other names",
        lambda x: joined(
            F.interpolate(x[:, 0], scale_factor=1.6, mode="nearest"),
            F.interpolate(x[:, None], (3, 8, 5), mode="nearest"),
            F.interpolate(x[:, 0], 4, mode="nearest-exact"),
            F.interpolate(x, (8, 4), mode="nearest-exact"),
            F.interpolate(x[:, None], (3, 8, 5), mode="nearest-exact"),
        ),
    ),
    Case("upsample trilinear", lambda x: F.interpolate(x[:, None], (3, 8, 5), mode="trilinear"), known=False),
    Case(
        "shapes by other names",
        lambda x: joined(
            aten.view(x, [-1, 2, 72]),
            aten._unsafe_view(x, [-1, 2, 72]),
            aten.flatten(x, 1),
            aten.unflatten(x, 1, [2, 2]),
            aten.alias(x),
            aten.detach(x),
            aten.contiguous(x),
            aten.dropout(x, 0.5, False),
            aten.feature_dropout(x, 0.5, False),
            aten.lift_fresh_copy(x),
            aten.movedim(x, 1, 2),
            aten.t(aten.t(x[:, 0, 0])),
            aten.index_select(x, 1, torch.tensor([2, 0])),
            aten.select_scatter(x, x[:, 0] + 1, 1, 2),
            aten.pixel_unshuffle(x, 2),
            aten.triu(x),
            aten.concat([x, x], 2),
            *aten.chunk(x, 2, 1),
            *aten.tensor_split(x, 3, 2),
            *aten.split_with_sizes(x, [1, 3], 1),
        ),
    ),
    Case(
        "constants by other names",
        lambda x: x * x.new_ones(6) + x.new_full((6,), 0.5) + 0 * x.new_zeros(6) + torch.zeros_like(x),
    ),
    Case("constants of its shape", lambda x: x * torch.ones_like(x) + x.new_zeros(6) + torch.full_like(x, 0.125)),
)
