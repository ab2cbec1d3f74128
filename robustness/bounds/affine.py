"""Steps that are affine: what goes back through them is exact, rounding apart."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Operation, Pulled, Relaxation, per_sample, total
from xai.robustness.bounds.rounding import Arithmetic, Rounding


class Affine(Operation):
    """A step that is its own linear bound."""

    affine = True
    terms: int = 0

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return the step itself."""
        return Itself(self, boxes)

    @abstractmethod
    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows (rows, batch, ...) times the output, as coefficients of each input and a constant."""

    @abstractmethod
    def magnitude(self, *boxes: Interval) -> torch.Tensor:
        """Return the largest sum of sizes (batch, ...) that makes an output."""


@dataclass(frozen=True)
class Itself(Relaxation):
    """What an affine step is between: itself."""

    step: Affine
    boxes: tuple[Interval, ...]

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows times the step."""
        return self.step.pull(rows)

    def sizes(self) -> torch.Tensor:
        """Return the step's."""
        return self.step.magnitude(*self.boxes)


class Weighted(Affine):
    """A matrix times one input, plus a constant.

    Args:
        weight: as the network holds it.
        bias: broadcast against the output without the batch, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight = weight
        self.bias = bias
        self._kept: dict[tuple[torch.dtype, bool], torch.Tensor] = {}

    @abstractmethod
    def times(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the matrix times x (batch, ...), plus a bias."""

    @abstractmethod
    def transposed(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return rows (rows, batch, ...) times the matrix."""

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        bias = None if self.bias is None else self.bias.to(x[0].dtype)
        return self.times(x[0], self._weight(x[0].dtype), bias)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return centre and radius through the matrix and its sizes; rounding rides along with the radius.

        Rounding is taken to be larger than it is for a sum of `terms`: enough for the last sum of centre and radius,
        and for the radius' own rounding.
        """
        (box,) = boxes
        share = rounding.share(self.terms + 8)
        middle = (box.lower + box.upper).mul_(0.5)
        radius = (box.upper - box.lower).mul_(0.5 * (1 + 4 * share)).add_(middle.abs(), alpha=share * (1 + 4 * share))
        room = None if self.bias is None else self.bias.to(middle.dtype).abs() * (share * (1 + 4 * share))
        centre = self.value(middle)
        reach = self.times(radius, self._weight(middle.dtype, sizes=True), room).add_(rounding.floor(self.terms))
        found = Interval(centre - reach, centre + reach)
        if rounding.arithmetic is Arithmetic.REAL:
            return found
        return found.widened(rounding.overflow(reach / share))

    def magnitude(self, *boxes: Interval) -> torch.Tensor:
        """Return the sizes of the matrix times the sizes of the input, plus the constant's."""
        x = boxes[0].magnitude
        bias = None if self.bias is None else self.bias.to(x.dtype).abs()
        return self.times(x, self._weight(x.dtype, sizes=True), bias)

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows times the matrix."""
        coefficients = self.transposed(rows, self._weight(rows.dtype))
        if self.bias is None:
            return [coefficients], rows.new_zeros(rows.shape[:2], dtype=torch.float64)
        return [coefficients], total(rows, self.bias)

    def _weight(self, dtype: torch.dtype, sizes: bool = False) -> torch.Tensor:
        key = (dtype, sizes)
        if key in self._kept:
            return self._kept[key]
        weight = self.weight.to(dtype)
        made = weight.abs() if sizes else weight
        if torch.is_grad_enabled() or not self.weight.requires_grad:  # else its gradient would be lost with it
            self._kept[key] = made
        return made


class Linear(Weighted):
    """A matrix (outputs, inputs) over the last axis."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        self.terms = weight.shape[-1] + 1

    def times(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return x times the transposed matrix."""
        product = x @ weight.mT
        return product if bias is None else product.add_(bias)

    def transposed(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return rows times the matrix."""
        return rows @ weight


class Weighing(Weighted):
    """Any product with a constant that is linear in both, its gradient by automatic differentiation.

    Args:
        function: of the input and the constant, for a batch of one; with no negative weight.
        shape: of the input for a batch of one.
        weight: the constant.
        terms: how many products make an output.
    """

    def __init__(
        self,
        function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        shape: Sequence[int],
        weight: torch.Tensor,
        terms: int,
    ) -> None:
        super().__init__(weight, None)
        self._function = function
        self._shape = tuple(shape)
        self.terms = terms

    def times(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the product."""
        product = per_sample(lambda value: self._function(value, weight))(x)
        return product if bias is None else product + bias

    def transposed(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the function's gradient for each row."""
        gradient = torch.func.vjp(lambda x: self._function(x, weight), rows.new_zeros(self._shape))[1]
        found: torch.Tensor = torch.vmap(gradient)(rows.flatten(0, 1))[0]
        return found.reshape(*rows.shape[:2], *self._shape)


class Convolution(Weighted):
    """A convolution or its transpose, over any number of axes.

    Args:
        weight: as torch.convolution takes it.
        bias: (channels) or None.
        shape: of the input for a batch of one.
        options: stride, padding, dilation, transposed, output_padding, groups, as torch.convolution takes them.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, shape: Sequence[int], options: tuple[object, ...]
    ) -> None:
        axes = weight.ndim - 2
        super().__init__(weight, None if bias is None else bias.reshape(-1, *(1,) * axes))
        self.shape = tuple(shape)
        self._options = options
        transposed, groups = options[3], int(options[5])  # type: ignore[call-overload]  # a tuple of torch's own mixture
        inputs = weight.shape[0] // groups if transposed else weight.shape[1]
        self.terms = inputs * weight[0, 0].numel() + 1

    def times(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the convolution."""
        channels = None if bias is None else bias.flatten()
        flat = torch.ops.aten.convolution(x.flatten(0, 1), weight, channels, *self._options)
        return flat.unflatten(0, x.shape[:2])  # type: ignore[no-any-return]  # torch.ops is untyped

    def transposed(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return what the convolution's gradient does: no matrix is written out."""
        flat = rows.flatten(0, 2)
        like = flat.new_empty(()).expand(len(flat), *self.shape[1:])
        found = torch.ops.aten.convolution_backward(flat, like, weight, None, *self._options, (True, False, False))[0]
        return found.unflatten(0, rows.shape[:3])  # type: ignore[no-any-return]  # torch.ops is untyped

    @property
    def is_plain(self) -> bool:
        """Whether it is a convolution over rows and columns, and not the transpose of one."""
        return self.weight.ndim == 4 and not self._options[3]

    def spread(self, rows: torch.Tensor, corner: tuple[int, int]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return rows (rows, batch, 1, channels, height, width) of a window times the matrix, and where that begins.

        Args:
            rows: coefficients of a part of the output.
            corner: first row and column of that part.

        Returns:
            Coefficients of a part of the input with its padding, and its first row and column, negative in the padding.
        """
        stride, padding, dilation, groups = (self._options[i] for i in (0, 1, 2, 5))
        weight = self._weight(rows.dtype)
        flat = torch.ops.aten.convolution(
            rows.flatten(0, 2), weight, None, stride, [0, 0], dilation, True, [0, 0], groups
        )
        begins = [c * s - p for c, s, p in zip(corner, stride, padding, strict=True)]  # type: ignore[call-overload]  # a tuple of torch's own mixture
        return flat.unflatten(0, rows.shape[:3]), (begins[0], begins[1])


class Scale(Affine):
    """Each number times a factor, plus a constant.

    Args:
        factor: broadcast against the value without the batch.
        offset: the same, or None.
        terms: roundings that make an output.
        made_of: the sizes that the offset was made of, where the network makes it itself; the offset's if None.
    """

    exact_on_boxes = True

    def __init__(
        self,
        factor: torch.Tensor,
        offset: torch.Tensor | None = None,
        terms: int = 1,
        made_of: torch.Tensor | None = None,
    ) -> None:
        self.factor = factor
        self.offset = offset
        self.terms = terms
        self._made_of = self.offset if made_of is None else made_of

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        scaled = x[0] * self.factor.to(x[0].dtype)
        return scaled if self.offset is None else scaled + self.offset.to(x[0].dtype)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the ends, exchanged where the factor is negative, each with the rounding of its own size."""
        (box,) = boxes
        factor = self.factor.to(box.lower.dtype)
        negative = bool((factor < 0).any())
        low = torch.where(factor < 0, box.upper, box.lower) if negative else box.lower
        high = torch.where(factor < 0, box.lower, box.upper) if negative else box.upper
        exact = Interval(low * factor, high * factor)
        found = Interval(self._end(exact.lower, rounding, -1), self._end(exact.upper, rounding, 1))
        if rounding.arithmetic is Arithmetic.FLOAT:
            found = found.widened(rounding.overflow(self.magnitude(box)))
        if self.offset is not None:
            return found
        sign = self.factor.sign().to(factor.dtype)
        return found.with_signs(Interval(low.sign() * sign, high.sign() * sign))

    def _end(self, scaled: torch.Tensor, rounding: Rounding, side: int) -> torch.Tensor:
        """Return an end of the output, moved outwards."""
        share, floor = rounding.share(self.terms), rounding.floor(self.terms)
        if self.offset is None or self._made_of is None:
            return scaled + scaled.abs().mul_(side * share).add_(side * floor)
        offset, sizes = self.offset.to(scaled.dtype), self._made_of.to(scaled.dtype).abs()
        return (scaled + (offset + side * (share * sizes + floor))).add_(scaled.abs(), alpha=side * share)

    def cropped(self, part: Callable[[torch.Tensor], torch.Tensor]) -> Scale:
        """Return the step for a part of the numbers."""
        return Scale(part(self.factor), None if self.offset is None else part(self.offset), self.terms)

    def magnitude(self, *boxes: Interval) -> torch.Tensor:
        """Return the size of the product plus the constant's."""
        scaled = boxes[0].magnitude * self.factor.to(boxes[0].lower.dtype).abs()
        return scaled if self._made_of is None else scaled + self._made_of.to(scaled.dtype).abs()

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows times the factor."""
        coefficients = [rows * self.factor.to(rows.dtype)]
        if self.offset is None:
            return coefficients, rows.new_zeros(rows.shape[:2], dtype=torch.float64)
        return coefficients, total(rows, self.offset)


class Sum(Affine):
    """The sum or difference of two values of one shape.

    Args:
        signs: of both.
    """

    terms = 1

    def __init__(self, signs: tuple[int, int]) -> None:
        self._signs = signs

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return self._signs[0] * x[0] + self._signs[1] * x[1]

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the sums of ends, exchanged for what is subtracted."""
        pairs = list(zip(boxes, self._signs, strict=True))
        lower = self.value(*(box.lower if sign > 0 else box.upper for box, sign in pairs))
        upper = self.value(*(box.upper if sign > 0 else box.lower for box, sign in pairs))
        share, floor = rounding.share(self.terms), rounding.floor(self.terms)
        found = Interval(lower - lower.abs().mul_(share).add_(floor), upper + upper.abs().mul_(share).add_(floor))
        if rounding.arithmetic is Arithmetic.REAL:
            return found
        return found.widened(rounding.overflow(self.magnitude(*boxes)))

    def magnitude(self, *boxes: Interval) -> torch.Tensor:
        """Return the sum of sizes."""
        return boxes[0].magnitude + boxes[1].magnitude

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows for both."""
        return [sign * rows if sign < 0 else rows for sign in self._signs], rows.new_zeros(rows.shape[:2])


class Arranged(Affine):
    """Numbers put elsewhere, repeated, left out, added or averaged, with constants among them.

    Every input goes in with weights that are not negative, or, where its sign says so, with none that is positive.

    Args:
        function: of the inputs for a batch of one; affine.
        shapes: of the inputs for a batch of one.
        signs: 1 or -1 for each input.
        terms: roundings that make an output; 0 where numbers are only moved.
        alone: whether each output takes one number of one input.
        batched: whether it is of one input whose first axis it treats as a batch: all samples go through it at once.
    """

    def __init__(
        self,
        function: Callable[..., torch.Tensor],
        shapes: Sequence[Sequence[int]],
        *,
        signs: Sequence[int] = (),
        terms: int = 0,
        alone: bool = False,
        batched: bool = False,
    ) -> None:
        self._function = function
        self.shapes = [tuple(shape) for shape in shapes]
        self._signs = tuple(signs) or (1,) * len(self.shapes)
        self.terms = terms
        self.exact_on_boxes = alone
        self._batched = batched

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        if self._batched:
            found = self._function(x[0].flatten(0, 1))
            return found.reshape(*x[0].shape[:2], *found.shape[1:])
        return per_sample(self._function)(*x)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the function of the lower ends and of the upper ends, exchanged for inputs that are subtracted."""
        pairs = list(zip(boxes, self._signs, strict=True))
        low = [box.lower if sign > 0 else box.upper for box, sign in pairs]
        high = [box.upper if sign > 0 else box.lower for box, sign in pairs]
        lower, upper = self.value(*low), self.value(*high)
        if not self.terms:
            return Interval(lower, upper)
        down, up = (rounding.forward(self._sizes([end.abs() for end in ends]), self.terms) for ends in (low, high))
        negative = self._sizes([(sign * end < 0).to(end.dtype) for end, sign in zip(low, self._signs, strict=True)])
        lower = lower - down
        of_positive = negative == 0  # a sum of numbers that are not negative
        return Interval(torch.where(of_positive, lower.clamp(min=0), lower), upper + up)

    def magnitude(self, *boxes: Interval) -> torch.Tensor:
        """Return the function of the sizes, each with its sign, and the constants' size."""
        return self._sizes([box.magnitude for box in boxes])

    def _sizes(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        constant = self._offset(x[0].dtype, x[0].device)
        signed = (sign * size for size, sign in zip(x, self._signs, strict=True))
        return self.value(*signed) - constant + constant.abs()

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return the function's gradient for each row."""
        if self._batched:
            return self._pull_batched(rows)
        zeros = [rows.new_zeros(shape) for shape in self.shapes]
        offset, gradient = torch.func.vjp(self._function, *zeros)[:2]
        found = torch.vmap(gradient)(rows.flatten(0, 1))
        constant = total(rows, offset) if bool(offset.any()) else rows.new_zeros(rows.shape[:2], dtype=torch.float64)
        return [part.unflatten(0, rows.shape[:2]) for part in found], constant

    def _pull_batched(self, rows: torch.Tensor) -> Pulled:
        flat = rows.flatten(0, 2)
        zeros = flat.new_zeros(()).expand(len(flat), *self.shapes[0][1:])
        offset, gradient = torch.func.vjp(self._function, zeros)[:2]
        constant = (offset * flat).double().reshape(rows.shape).flatten(2).sum(-1)
        return [gradient(flat)[0].unflatten(0, rows.shape[:3])], constant

    @cached_property
    def origins(self) -> tuple[list[torch.Tensor], torch.Tensor] | None:
        """For outputs that each take one number: where of each flat input (outputs), -1 elsewhere, and the constants.

        None if outputs are made otherwise.
        """
        if not self.exact_on_boxes or min(self._signs) < 0:
            return None
        ends = list(accumulate((math.prod(shape) for shape in self.shapes), initial=1))
        numbers = [
            torch.arange(start, end, dtype=torch.float64).reshape(shape)
            for (start, end), shape in zip(pairwise(ends), self.shapes, strict=True)
        ]
        found, turned = self._function(*numbers), self._function(*(-number for number in numbers))
        moved = found != turned  # a constant stays
        of_each = pairwise(ends)
        places = [
            torch.where(moved & (found >= start) & (found < end), found - start, -1).long() for start, end in of_each
        ]
        return places, torch.where(moved, 0.0, found)

    def _offset(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return self._function(*(torch.zeros(shape, dtype=dtype, device=device) for shape in self.shapes))
