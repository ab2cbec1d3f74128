"""Cards that are more than data."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from tests.hostile.base import TOUCH, Maker, cases
from tests.networks import Linear

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{last}'] * 9)}]\n" for last, key in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {k0: 0, k1: 1}\n" + "".join(
    f"{key}: &{key} {{<<: [{', '.join([f'*{last}'] * 9)}]}}\n" for last, key in zip("abcdefgh", "bcdefghi", strict=True)
)


def beside(card: str) -> Maker:
    """Write weights, a card beside them, and code that the card may name."""

    def make(path: Path) -> None:
        path.with_name("net.py").write_text(f"import os\nos.system({TOUCH!r})\n")
        save_file({"weight": Linear().weight.detach()}, path)
        path.with_name("model.yaml").write_text(card)

    return make


def linked_out(path: Path) -> None:
    """Let the card be a link to a file outside of the model's folder."""
    path.parent.with_name("secret.yaml").write_text("name: secret")
    beside("")(path)
    path.with_name("model.yaml").unlink()
    path.with_name("model.yaml").symlink_to(path.parent.with_name("secret.yaml"))


TABLE: dict[str, tuple[Maker, str]] = {
    "a tag that calls": (
        beside(f"name: !!python/object/apply:os.system ['{TOUCH}']"),
        "is not YAML: could not determine a constructor",
    ),
    "a tag that makes an object": (beside(f"!!python/object/new:os.system ['{TOUCH}']"), "is not YAML"),
    "the name of a .py file": (
        beside("architecture: net.py:make"),
        "code is never run because a card asks for it: name it yourself with --arch",
    ),
    "aliases that unfold": (beside(BOMB), "aliases (*name) are not allowed"),
    "aliases that merge": (beside(MERGED), "aliases (*name) are not allowed"),
    "a number of 100 000 digits": (beside("name: " + "9" * 100_000), "is not YAML"),
    "100 000 open brackets": (beside("[" * 100_000), "is not YAML"),
}
CARDS = (
    *cases("card", TABLE, "model.safetensors"),
    *cases(
        "card",
        {"a link out of the folder": (linked_out, "is a link out of the model's folder")},
        "in/model.safetensors",
    ),
)
