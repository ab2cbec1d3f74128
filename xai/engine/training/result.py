"""What a training leaves: a file of weights, or of the whole program, with a card that says where it comes from."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from safetensors.torch import load, save
from torch import nn

from xai.models.assembly import Found, assemble
from xai.models.card import NAMEABLE, Card, Lineage
from xai.models.formats.base import read_file
from xai.models.model import Model
from xai.models.trainable import Trainable, copied
from xai.models.writing import write

WEIGHTS, PROGRAM, CARD = "model.safetensors", "model.pt2", "model.yaml"


@dataclass(frozen=True)
class Result:
    """The trained network.

    Args:
        name: of its file.
        content: the file's bytes.
        model: opened from those bytes.
        network: the module with these weights; of a program its graph.
        notes: what a reader must know of the file.
    """

    name: str
    content: bytes
    model: Model
    network: nn.Module
    notes: tuple[str, ...]

    @property
    def card(self) -> bytes:
        """The card that belongs beside the file, as YAML."""
        fields = self.model.card.model_dump(mode="json", exclude_none=True)
        if self.model.input.range is None:
            fields["input"]["range"] = None
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).encode()


def result(trained: Trainable, lineage: Lineage, folder: Path | None) -> Result:
    """Return the trained network as a file, and the model that is opened from it.

    It is a state dict where its architecture has a name, else the whole program, which needs none; a module of the
    user's own that torch.export cannot follow leaves a state dict for that module.

    Args:
        trained: the network, its training done.
        lineage: for the card.
        folder: where the file will stand; None for nowhere yet.
    """
    model = trained.model
    card = model.card.model_copy(
        update={
            "name": f"{model.name}, {lineage.objective} training",
            "architecture": model.architecture if model.architecture.startswith(NAMEABLE) else None,
            "description": "",
            "measured": {},
            "lineage": lineage,
        }
    )
    has_modules = trained.own is not trained.network
    if has_modules and (model.architecture or model.graph is None):
        return _weights(trained, card, folder)
    return _whole(trained, card, folder)


def _weights(trained: Trainable, card: Card, folder: Path | None) -> Result:
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in trained.own.state_dict().items()}
    content = save(state)
    network = copied(trained.own).eval()
    network.load_state_dict(load(content))
    found = Found(
        network=network,
        format="safetensors",
        source=str(folder / WEIGHTS) if folder else WEIGHTS,
        digest=hashlib.sha256(content).hexdigest(),
        architecture=trained.model.architecture,
        places=dict.fromkeys(_declared(card), "the parent's card"),
    )
    notes = []
    if not found.architecture:
        notes.append(f"{WEIGHTS} holds the weights of the module that was given: load them into one like it")
    elif not found.architecture.startswith(NAMEABLE):
        notes.append(f"{WEIGHTS} holds weights alone, and a card can not name code: --arch {found.architecture}")
    return Result(WEIGHTS, content, assemble(found, card, trained.model.device), network, tuple(notes))


def _whole(trained: Trainable, card: Card, folder: Path | None) -> Result:
    """Write the program, mean and std inside it."""
    plain = {"mean": (0.0,), "std": (1.0,), "layout": "channels first"}
    outer = card.model_copy(update={"architecture": None, "input": trained.model.input.model_copy(update=plain)})
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / PROGRAM
        write(replace(trained.evaluated, card=outer), path)
        content = path.read_bytes()
        network = read_file(path)[0].network
    assert network is not None
    found = Found(
        network=network,
        format="torch.export",
        source=str(folder / PROGRAM) if folder else PROGRAM,
        digest=hashlib.sha256(content).hexdigest(),
        places=dict.fromkeys(_declared(card), "the parent's card"),
    )
    return Result(PROGRAM, content, assemble(found, outer, trained.model.device), trained.own, ())


def _declared(card: Card) -> list[str]:
    assert card.input is not None
    return ["classes", "output", *(f"input.{name}" for name in type(card.input).model_fields)]


def drawn_anew(network: nn.Module, seed: int) -> list[str]:
    """Draw all weights of a network anew, as its modules do it themselves; return the modules that cannot.

    Args:
        network: is changed.
        seed: of the numbers.
    """
    left = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, module in network.named_modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif any(True for _ in module.parameters(recurse=False)):
                left.append(name or type(module).__name__)
    return left
