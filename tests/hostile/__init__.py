"""Hostile files: one for every format and every attack that is known; the tests and the benchmark read this list."""

from __future__ import annotations

from tests.hostile.archives import ARCHIVES
from tests.hostile.base import Case
from tests.hostile.cards import CARDS
from tests.hostile.exports import EXPORTS, UNHARMED
from tests.hostile.graphs import ENDLESS, GRAPHS, GROWING
from tests.hostile.inputs import BOMBS, INPUTS
from tests.hostile.pickles import PICKLES
from tests.hostile.scripts import SCRIPTS

CASES: tuple[Case, ...] = (
    *PICKLES,
    *EXPORTS,
    *UNHARMED,
    *SCRIPTS,
    *ARCHIVES,
    *CARDS,
    *GRAPHS,
    *GROWING,
    *ENDLESS,
    *INPUTS,
    *BOMBS,
)
