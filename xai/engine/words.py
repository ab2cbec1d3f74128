"""What bounds mean, in words that claim no more."""

from __future__ import annotations

from xai.engine.enclosure import BoundsPlan
from xai.robustness.bounds.rounding import Arithmetic

NUMBERS = {
    Arithmetic.REAL: "It is about real arithmetic, the network computed without rounding: the float32 network that "
    "runs may differ by rounding, which bounds in float arithmetic cover.",
    Arithmetic.FLOAT: "It covers the float32 network as torch's oneDNN kernels run it on a CPU, in whatever order they "
    "sum; not other runtimes, nor convolutions by Winograd's or Fourier's ways.",
}


def about_numbers(plan: BoundsPlan) -> str:
    """Return what is bounded."""
    return f"layer {plan.layer}" if plan.layer else "the outputs"


def limits(plan: BoundsPlan) -> str:
    """Return what bounds do not mean."""
    region = "It is about every input of the region, and about no other; where it decides nothing, nothing is known."
    return f"{plan.bounder.about.limits} {region} {NUMBERS[plan.arithmetic]}"
