"""Gradients that are no derivatives: each operator of a graph passes back what a method's rules say.

Operators are told apart by what a rule can say of them: linear in all that follows from the input, a function of one
number, a product, a largest number. What is none of these is taken apart into such steps. A graph runs as it always
does, so that its outputs stay what they are; only what flows back differs. An operator that is not known here ends the
run with its name: its derivative would be passed off as something else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from xai.errors import NotApplicableError

Bilinear = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class _Posing(torch.autograd.Function):
    """A value with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:  # noqa: ARG004  # autograd's
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:  # noqa: ARG004  # autograd's
        return None, gradients[0]


def posing(value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:
    """Return a value whose gradient is that of a surrogate of the same shape."""
    posed: torch.Tensor = _Posing.apply(value.detach(), surrogate)  # type: ignore[no-untyped-call]  # of torch's
    return posed


def along(
    x: torch.Tensor, y: torch.Tensor, *, run: torch.Tensor, rise: torch.Tensor, far: torch.Tensor
) -> torch.Tensor:
    """Return y, a function of each number of x, with the slope rise / run; where that says nothing, with its own.

    Args:
        x: the function's inputs.
        y: what it gives for them, with its own gradient.
        run: by what the inputs are taken to have changed.
        rise: by what the outputs have.
        far: where there is a run to speak of.
    """
    slope = torch.where(far, rise / torch.where(far, run, 1), 0).detach()
    return posing(y, torch.where(far, x * slope, y))


class Call:
    """An operator and what it is called with.

    Args:
        operator: an ATen operator.
        args: by position.
        kwargs: by name.
    """

    def __init__(self, operator: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.operator = operator
        self.name = operator._schema.name.removeprefix("aten::")
        self._schema = operator._schema.arguments
        given = dict(zip((argument.name for argument in self._schema), args, strict=False))
        self.arguments = {each.name: each.default_value for each in self._schema} | given | dict(kwargs)

    def __getitem__(self, name: str) -> Any:
        """Return an argument."""
        return self.arguments[name]

    def run(self, changed: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """Call the operator, with some arguments exchanged."""
        found = {**self.arguments, **changed}
        positional = [found[each.name] for each in self._schema if not each.kwarg_only]
        return self.operator(*positional, **{each.name: found[each.name] for each in self._schema if each.kwarg_only})

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Its tensors, by the argument that they are or stand in."""
        found: dict[str, torch.Tensor] = {}
        for name, value in self.arguments.items():
            parts = value if isinstance(value, list | tuple) else [value]
            found |= {
                f"{name} {index}" if index else name: part
                for index, part in enumerate(parts)
                if isinstance(part, torch.Tensor)
            }
        return found

    @property
    def followers(self) -> dict[str, torch.Tensor]:
        """Those of its tensors that follow from the input: a gradient flows back through them."""
        return {name: tensor for name, tensor in self.tensors.items() if tensor.requires_grad}

    def only(self) -> dict[str, torch.Tensor]:
        """Return the one tensor that follows from the input; raise NotApplicableError if there are several."""
        found = self.followers
        if len(found) > 1:
            raise self.refused(f"where {', '.join(found)} depend on the input")
        return found

    def refused(self, why: str = "") -> NotApplicableError:
        """Return the error that says that there is no rule for this call."""
        return NotApplicableError(f"there is no rule for the operator {self.name}{' ' * bool(why)}{why}")


class Rules(ABC):
    """What each kind of operator passes back. Called with an operator, they give what is called instead of it."""

    def __init__(self) -> None:
        self._sources = WeakTensorKeyDictionary()  # of numbers that each depend on one number: the tensor of these

    def __call__(self, operator: Any) -> Callable[..., Any]:
        """Return what runs instead of an operator."""
        return partial(self._run, operator) if isinstance(operator, torch._ops.OpOverload) else operator

    @abstractmethod
    def function(self, x: torch.Tensor, y: torch.Tensor, at_zero: torch.Tensor | None = None) -> torch.Tensor:
        """Return y, a function of each number of x with its own gradient, with what the rules pass back.

        Args:
            x: what it is a function of.
            y: its values.
            at_zero: what it gives where x is 0; None for 0.
        """

    @abstractmethod
    def product(self, multiply: Bilinear, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return a product of two tensors that follow from the input."""

    @abstractmethod
    def largest(self, call: Call) -> Any:
        """Return the largest or smallest numbers, of windows or along an axis."""

    @abstractmethod
    def softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Return the softmax along an axis."""

    @abstractmethod
    def log_softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Return the logarithm of the softmax along an axis."""

    @abstractmethod
    def standardised(self, x: torch.Tensor, axes: Sequence[int], eps: float) -> torch.Tensor:
        """Return numbers over the root of their mean square along some axes."""

    @abstractmethod
    def quotient(self, call: Call) -> torch.Tensor:
        """Return a quotient whose divisor follows from the input."""

    def weighted(self, call: Call) -> torch.Tensor:
        """Return a product of what follows from the input and a constant, such as a layer's weights."""
        found: torch.Tensor = call.run()
        return found

    def linear(self, call: Call) -> Any:
        """Return what is linear in all that follows from the input, but for a constant."""
        return call.run()

    def normalised(self, call: Call) -> Any:
        """Return what is normalised by figures kept from training."""
        return call.run()

    def check(self, call: Call) -> None:  # noqa: B027  # most rules hold whatever the arguments
        """Raise NotApplicableError if the rules do not hold for what an operator is called with."""

    def multiplied(self, multiply: Bilinear, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return a product; if one of the tensors is constant, its gradient is that of a linear function."""
        return self.product(multiply, a, b) if a.requires_grad and b.requires_grad else multiply(a, b)

    def source(self, *tensors: torch.Tensor) -> torch.Tensor | None:
        """Return the tensor that all of these are functions of, number by number, if there is one."""
        found = [self._sources.get(tensor, tensor) for tensor in tensors]
        return found[0] if all(one is found[0] for one in found) else None

    def follow(self, made: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        """Note that something is a function of what these are functions of, number by number; return it."""
        source = self.source(*tensors)
        if source is not None and made.shape == source.shape:
            self._sources[made] = source
        return made

    def _run(self, operator: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
        call = Call(operator, args, kwargs)
        if not (call.followers and operator._schema.returns):
            return call.run()
        if call.name not in KINDS:
            raise call.refused()
        self.check(call)
        return KINDS[call.name](self, call)


def _choice(rules: Rules, call: Call) -> Any:  # noqa: ARG001  # called as its neighbours are
    """Comparisons, places and sizes: nothing flows back through them."""
    return call.run()


def _linear(rules: Rules, call: Call) -> Any:
    return rules.linear(call)


def _termwise(rules: Rules, call: Call) -> Any:
    """Sums: each number of theirs depends on one number of each term."""
    return rules.follow(rules.linear(call), *call.followers.values())


def _function(rules: Rules, call: Call) -> Any:
    ((name, x),) = call.only().items()
    at_zero = call.run({name: torch.zeros_like(x)})
    y = call.run()
    if isinstance(y, torch.Tensor):
        return rules.follow(rules.function(x, y, at_zero), x)
    return (rules.function(x, y[0], at_zero[0]), *y[1:])


def _product(rules: Rules, call: Call) -> Any:
    """Products: with a constant, of two values, or of two functions of the same numbers, which is a function of these.

    So an activation that a file writes as several operators, such as x * sigmoid(x), is what it is as one.
    """
    followers = call.followers
    if len(followers) == 1:
        made = rules.weighted(call)
        return rules.follow(made, *followers.values()) if call.name in _NUMBERWISE else made
    names = _FACTORS[call.name]
    if set(followers) != set(names):
        raise call.refused(f"where {', '.join(followers)} depend on the input")
    a, b = (followers[name] for name in names)
    if call.name in _NUMBERWISE and (source := _shared(rules, a, b)) is not None:
        return rules.follow(rules.function(source, call.run()), source)
    return rules.product(lambda one, other: call.run(dict(zip(names, (one, other), strict=True))), a, b)


def _shared(rules: Rules, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor | None:
    """Return what two factors are both functions of, number by number, if there is such a thing."""
    source = rules.source(a, b)
    return source if source is not None and source.shape == a.shape == b.shape else None


def _einsum(rules: Rules, call: Call) -> Any:
    tensors = call["tensors"]
    if len(call.followers) == 1:
        return rules.weighted(call)
    if len(tensors) > 2:
        raise call.refused("of more than two tensors")
    return rules.product(lambda a, b: call.run({"tensors": [a, b]}), *tensors)


def _quotient(rules: Rules, call: Call) -> Any:
    if call.arguments.get("rounding_mode"):
        raise call.refused("with rounding")
    if "other" not in call.followers:
        return _product(rules, call)
    a, b = call["self"], call["other"]
    if a.requires_grad and (source := _shared(rules, a, b)) is not None:
        return rules.follow(rules.function(source, call.run()), source)
    return rules.quotient(call)


def _log_sum(rules: Rules, call: Call) -> Any:
    """The logarithm of a sum of exponentials is what any number exceeds its log-softmax by."""
    axes = call["dim"]
    if len(axes) > 1:
        raise call.refused("along several axes")
    x = call["self"]
    made = (x - rules.log_softmax(x, axes[0])).select(axes[0], 0)
    return made.unsqueeze(axes[0]) if call["keepdim"] else made


def _spread(rules: Rules, call: Call) -> Any:
    """Norms, variances and deviations: a sum of squares, and its root."""
    x, keeps = call["self"], bool(call.arguments.get("keepdim"))
    axes = call.arguments.get("dim") or list(range(x.ndim))
    if call.arguments.get("ord", 2) != 2:
        raise call.refused("other than the Euclidean one")
    if call.name == "linalg_vector_norm":
        centred, count = x, 1.0
    else:
        centred = x - x.mean(axes, keepdim=True)
        given = call.arguments.get("correction", call.arguments.get("unbiased"))
        count = math.prod(x.shape[axis] for axis in axes) - (1 if given is None else int(given))
    total = rules.function(centred, centred.square()).sum(axes, keepdim=keeps) / count
    return total if call.name == "var" else rules.function(total, total.sqrt())


def _gate(rules: Rules, call: Call) -> Any:
    value, gate = call["self"].chunk(2, call["dim"])
    return rules.product(torch.mul, value, rules.function(gate, gate.sigmoid(), torch.full_like(gate, 0.5)))


def _softmax(rules: Rules, call: Call) -> Any:
    made = rules.log_softmax if "log" in call.name else rules.softmax
    return made(call["self"], call["dim"])


def _largest(rules: Rules, call: Call) -> Any:
    return rules.largest(call)


def _by_figures(rules: Rules, call: Call) -> Any:
    if call.arguments.get("training"):
        raise call.refused("in training mode")
    return rules.normalised(call)


def _layer_norm(rules: Rules, call: Call) -> Any:
    x = call["input"]
    axes = range(-len(call["normalized_shape"]), 0)
    centred = x if call.name == "rms_norm" else x - x.mean(list(axes), keepdim=True)
    eps = torch.finfo(x.dtype).eps if call["eps"] is None else call["eps"]
    made = _affine(rules.standardised(centred, axes, eps), call["weight"], call.arguments.get("bias"))
    return (made, None, None) if call.name == "native_layer_norm" else made


def _group_norm(rules: Rules, call: Call) -> Any:
    x = call["input"]
    if call.name == "instance_norm" and not call["use_input_stats"]:
        return rules.normalised(call)
    groups = x.shape[1] if call.name == "instance_norm" else call["num_groups"]
    parts = x.reshape(x.shape[0], groups, -1)
    whole = rules.standardised(parts - parts.mean(-1, keepdim=True), [-1], call["eps"]).reshape(x.shape)
    channels = (-1, *(1,) * (x.ndim - 2))
    weight, bias = (None if call[name] is None else call[name].reshape(channels) for name in ("weight", "bias"))
    return _affine(whole, weight, bias)


def _affine(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _attention(rules: Rules, call: Call) -> Any:
    """Take attention apart: a product, a softmax, a product."""
    query, key, value = (call[name] for name in ("query", "key", "value"))
    if call["dropout_p"] or call.arguments.get("enable_gqa"):
        raise call.refused("with dropout or grouped queries")
    scale = 1 / math.sqrt(query.shape[-1]) if call["scale"] is None else call["scale"]
    scores = rules.multiplied(torch.matmul, query * scale, key.mT)
    scores = _masked(scores, call["attn_mask"], causal=call["is_causal"])
    weights = rules.softmax(scores, -1) if scores.requires_grad else scores.softmax(-1)
    made = rules.multiplied(torch.matmul, weights, value)
    return (made, None) if call.name.startswith("_") else made


def _masked(scores: torch.Tensor, mask: torch.Tensor | None, *, causal: bool) -> torch.Tensor:
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask


# Lists of names read better in rows than one a line.
_MOVING = [
    "cat", "channel_shuffle", "concat", "expand", "expand_as", "flatten", "flip", "index_select", "masked_fill",
    "movedim", "permute", "pixel_shuffle", "pixel_unshuffle", "repeat", "repeat_interleave", "reshape", "roll",
    "select", "select_scatter", "slice", "slice_scatter", "squeeze", "stack", "t", "transpose", "tril", "triu",
    "unflatten", "unsqueeze", "view", "view_as", "where", "_unsafe_view", "_reshape_alias", "index", "gather",
    "take_along_dim", "_unsafe_index", "unfold", "im2col", "col2im", "chunk", "split", "split_with_sizes",
    "tensor_split", "unbind", "constant_pad_nd", "pad", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "diagonal", "narrow", "swapaxes", "numpy_T",
    "mT", "adjoint", "scatter", "scatter_add", "index_add", "index_put", "fill", "new_zeros", "new_ones",
    "new_full", "zeros_like", "ones_like", "full_like",
]  # fmt: skip
_KEEPING = [
    "_to_copy", "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout", "lift_fresh_copy", "to", "neg", "add", "sub", "rsub",
]  # fmt: skip
_ADDING = [
    "sum", "mean", "cumsum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "upsample_bilinear2d",
    "_upsample_bilinear2d_aa", "upsample_linear1d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bicubic2d_aa", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "grid_sampler",
    "grid_sampler_2d",
]  # fmt: skip
_CHOOSING = [
    "sym_size", "sym_numel", "sym_stride", "eq", "ne", "lt", "le", "gt", "ge", "argmax", "argmin", "isnan", "isinf",
    "isfinite", "logical_not", "logical_and", "logical_or", "argsort",
]  # fmt: skip
_FUNCTIONS = [
    "relu", "relu6", "leaky_relu", "prelu", "_prelu_kernel", "rrelu", "hardtanh", "threshold", "clamp", "clamp_min",
    "clamp_max", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "hardswish", "hardsigmoid", "sigmoid",
    "log_sigmoid", "log_sigmoid_forward", "tanh", "softsign", "tanhshrink", "hardshrink", "softshrink", "abs",
    "square", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "erf", "erfc",
    "sin", "cos", "tan", "atan", "asinh", "acosh", "sinh", "cosh", "asin", "acos", "atanh", "sinc", "logit",
    "floor", "ceil", "round", "trunc", "sign",
]  # fmt: skip
_LARGEST = [
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "max_pool1d_with_indices", "amax", "amin",
    "max", "min", "maximum", "minimum", "fmax", "fmin",
]  # fmt: skip
_FACTORS = {
    "mul": ("self", "other"),
    "div": ("self", "other"),
    "matmul": ("self", "other"),
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "linear": ("input", "weight"),
    **dict.fromkeys(("convolution", "_convolution"), ("input", "weight")),
    **{f"conv{transposed}{axes}d": ("input", "weight") for axes in (1, 2, 3) for transposed in ("", "_transpose")},
}
_NUMBERWISE = ("mul", "div")
KINDS: dict[str, Callable[[Rules, Call], Any]] = {
    **dict.fromkeys(_CHOOSING, _choice),
    **dict.fromkeys((*_MOVING, *_ADDING), _linear),
    **dict.fromkeys(_KEEPING, _termwise),
    **dict.fromkeys(_FUNCTIONS, _function),
    **dict.fromkeys(_LARGEST, _largest),
    **dict.fromkeys(_FACTORS, _product),
    **dict.fromkeys(("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"), _by_figures),
    **dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("group_norm", "instance_norm"), _group_norm),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu"), _attention),
    "div": _quotient,
    "einsum": _einsum,
    "glu": _gate,
    "pow": _function,
    "logsumexp": _log_sum,
    **dict.fromkeys(("var", "std", "linalg_vector_norm"), _spread),
}
