"""Whole pickles: opening them could run code."""

from __future__ import annotations

import pickle

import numpy as np
import torch

from tests.hostile.base import Evil, Maker, cases, saved, written
from tests.networks import Linear

TABLE: dict[str, tuple[Maker, str]] = {
    "an object": (saved(Evil()), r"(posix.system), and opening them could run code; save net.state_dict() instead"),
    "an object in the old form": (saved(Evil(), _use_new_zipfile_serialization=False), "(posix.system)"),
    "a whole network": (saved(Linear()), "(tests.networks.Linear), and opening them could run code; save"),
    "an object among tensors": (saved({"state_dict": {"a": torch.ones(1)}, "more": Evil()}), "--trust-model"),
    "a plain pickle": (written(lambda: pickle.dumps(Evil(), 4)), "a pickle of Python objects (posix.system)"),
    "a plain pickle in protocol 2": (
        written(lambda: pickle.dumps(Evil(), 2)),
        "a pickle of Python objects (posix.system)",
    ),
    "a classifier": (written(lambda: pickle.dumps(np.random.default_rng(0))), "a pickle of Python objects (numpy"),
}
PICKLES = cases("pickle", TABLE)
