"""The draws around one input, block by block, and the tally of what they answered, which outlives a killed run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from xai.errors import NotApplicableError, UsageError
from xai.models.model import Model
from xai.robustness.smoothing.plan import Block, Smoothing, Use
from xai.runtime import Runtime

NOTHING = -1  # the answer of outputs that are not finite: a class of its own, so never for the class that is certified
LARGEST_BATCH = 128
Counts = dict[int, int]


def nobody(_: int) -> None:
    """Be told, and do nothing."""


def _none() -> dict[Use, Counts]:
    return {use: {} for use in Use}


class Tally(BaseModel):
    """How often each answer was given by the blocks that are done; `model_dump_json` keeps it.

    Args:
        of: what was asked, in one word: the tally of other draws is not continued.
        done: how many blocks are counted, in their order.
        counts: by what the draws were for, how many gave each answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    done: NonNegativeInt = 0
    counts: dict[Use, dict[int, NonNegativeInt]] = Field(default_factory=_none)

    def plus(self, block: Block, counts: Counts) -> Tally:
        """Return the tally with the counts of the next block."""
        whole = Counter(self.counts[block.use]) + Counter(counts)
        return Tally(of=self.of, done=self.done + 1, counts={**self.counts, block.use: dict(sorted(whole.items()))})


@dataclass(frozen=True)
class Draws:
    """Noisy copies of one input, and what a model answers to them.

    Noise is Gaussian, drawn and added in float64 and then rounded to the input's own numbers. It is not clipped to the
    range of values, as Cohen et al. do not: the network sees values that no picture holds. Copies of a model that draws
    random numbers itself go through it one at a time, because numbers that are drawn for a whole batch would not be
    independent; the statement is then about noise and the model's own numbers together.

    Args:
        model: whose most frequent answer is asked for.
        x: one input, of the model's shape, in input units.
        plan: noise and number of draws.
        runtime: seed, memory.
        name: of the input; its noise follows from the run's seed, this and the block alone.

    Raises:
        NotApplicableError: the model's outputs are values.
        UsageError: the input has another shape.
    """

    model: Model
    x: torch.Tensor
    plan: Smoothing
    runtime: Runtime
    name: str

    def __post_init__(self) -> None:
        """Refuse what cannot be smoothed."""
        if self.model.card.output == "values":
            raise NotApplicableError("its outputs are values, not classes: noise has no most frequent answer")
        if tuple(self.x.shape) != self.model.input.shape:
            raise UsageError(
                f"expected one input of shape {self.model.input.shape}, received {tuple(self.x.shape)}; give inputs as "
                "the model's card declares them"
            )

    @cached_property
    def tally(self) -> Tally:
        """The tally before the first block."""
        x = self.x.detach().cpu().contiguous()
        asked = [self.model.fingerprint, asdict(self.plan), self.runtime.seed, str(self.runtime.device), self.name]
        digest = hashlib.sha256(json.dumps([*asked, str(x.dtype)], sort_keys=True).encode())
        digest.update(x.numpy().tobytes())
        return Tally(of=digest.hexdigest())

    def advance(self, tally: Tally, tell: Callable[[int], None] = nobody) -> Tally:
        """Return the tally with the next block's answers, or as it is if no block is left.

        Args:
            tally: of these draws: `tally`, or one that was kept.
            tell: called with how many draws were made since the last call.

        Raises:
            UsageError: it is a tally of other draws.
        """
        if tally.of != self.tally.of:
            raise UsageError(
                f"the counts kept for {self.name} are of another model, input, seed or plan; expected those of this "
                "run: begin anew"
            )
        left = self.plan.blocks[tally.done :]
        return tally.plus(left[0], self.count(left[0], tell)) if left else tally

    def count(self, block: Block, tell: Callable[[int], None] = nobody) -> Counts:
        """Return how often each answer is given in a block; `NOTHING` where outputs are not finite.

        Args:
            block: which draws.
            tell: called with how many draws were made since the last call; what it raises ends the block.
        """
        names = ("smoothing", self.name, block.use, str(block.number))
        generator = self.runtime.generator(*names)
        batch = 1 if self.model.draws else self.runtime.batch(self.model.bytes_per_input, LARGEST_BATCH)
        counts: Counter[int] = Counter()
        with torch.no_grad(), self._repeatable(*names):
            for begin in range(0, block.draws, batch):
                copies = self._copies(min(batch, block.draws - begin), generator)
                counts.update(answers(self.model, self.model(copies)).tolist())
                tell(len(copies))
        return dict(sorted(counts.items()))

    def _copies(self, number: int, generator: torch.Generator) -> torch.Tensor:
        """Return the next noisy copies (number, ...).

        Each is drawn by itself, so that batches do not matter, and in float64: float32 noise ends at 5.8 standard
        deviations, and the last bits of a float32 sum betray the input (Voracek & Hein 2023). Rounding the sum is part
        of the classifier that is smoothed.
        """
        exact = self.x.double()

        def copy() -> torch.Tensor:
            noise = torch.randn(exact.shape, dtype=exact.dtype, device=exact.device, generator=generator)
            return (exact + self.plan.sigma * noise).to(self.x.dtype)

        return torch.stack([copy() for _ in range(number)])

    def _repeatable(self, *names: str) -> AbstractContextManager[object]:
        """Let what a model draws follow from the block too, and leave the process's generators as they were."""
        return self.runtime.seeded(*names, "model") if self.model.draws else nullcontext()


def answers(model: Model, outputs: torch.Tensor) -> torch.Tensor:
    """Return the place (n,) in `model.answers` of what outputs (n, classes) say, NOTHING where one is not finite."""
    if outputs.shape[1] == len(model.answers):
        places = outputs.argmax(1)
    else:
        places = (outputs[:, 0] > (0.5 if model.card.output == "probabilities" else 0.0)).long()
    return torch.where(outputs.isfinite().all(1), places, NOTHING)
