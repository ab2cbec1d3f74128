"""Hostile files: each would leave a marker if a byte of it ran, or fill the memory; each is refused in one line."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.hostile import ARCHIVES, CARDS, EXPORTS, INPUTS, PICKLES, SCRIPTS, UNHARMED
from tests.hostile.base import MARKER, Case, Evil, saved
from tests.hostile.exports import archive, pickled_inside
from tests.hostile.scripts import at_loading
from tests.networks import Small, seeded
from xai.api import load

Refused = Callable[[Case], str]


@pytest.mark.parametrize("case", [*PICKLES, *EXPORTS, *SCRIPTS, *CARDS, *INPUTS], ids=str)
def test_nothing_in_a_hostile_file_runs(refused: Refused, case: Case) -> None:
    assert case.words in refused(case)


@pytest.mark.parametrize("case", ARCHIVES, ids=str)
def test_a_file_is_refused_for_what_it_is_and_not_unpacked(refused: Refused, place: Path, case: Case) -> None:
    case.write(place)
    tracemalloc.start()
    line = refused(case)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert case.words in line
    assert peak < 100 * 2**20


@pytest.mark.parametrize("case", UNHARMED, ids=str)
def test_what_an_export_does_not_need_is_not_looked_at(place: Path, case: Case) -> None:
    case.write(place)
    model = load(case.file)
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model(x), seeded(Small)(x), atol=1e-5, rtol=0)
    assert not Path(MARKER).exists()


def test_the_files_here_would_run(place: Path) -> None:
    marker = place / MARKER
    saved(Evil())(place / "model.pt")
    torch.load("model.pt", weights_only=False)
    assert marker.exists()
    marker.unlink()
    pickled_inside(place / "model.pt2", "weights")
    with contextlib.suppress(Exception):  # it runs, and then finds no weight
        torch.export.load("model.pt2")
    assert marker.exists()
    marker.unlink()
    at_loading(place / "model.pt")
    torch.jit.load("model.pt")
    assert marker.exists()


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has such files")
def test_what_is_no_file_is_not_waited_for(refuses: Callable[..., str], place: Path) -> None:
    os.mkfifo("pipe.pt")
    (place / "zero.pt").symlink_to("/dev/zero")
    for name in ("pipe.pt", "/dev/zero", "zero.pt"):
        assert "is neither a file nor a folder" in refuses(name, "image.png", code=2)


def test_a_link_that_the_user_names_is_followed(place: Path) -> None:
    (place / "far").mkdir()
    archive(place / "far" / "net.pt2")
    (place / "near.pt2").symlink_to(place / "far" / "net.pt2")
    assert load("near.pt2").input.shape == (3, 16, 16)


def test_a_card_that_is_a_link_within_the_models_folder_is_followed(place: Path) -> None:
    archive(place / "net.pt2")
    (place / "model.yaml").symlink_to(place / "card.yaml")
    (place / "card.yaml").write_text("name: near")
    assert load("net.pt2").name == "near"
