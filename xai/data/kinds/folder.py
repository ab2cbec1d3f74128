"""A folder of pictures, or one with a sub-folder of pictures a class."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from xai.data.contents import Content, Files
from xai.data.kinds.base import Kind, no_labels
from xai.data.samples import SUFFIXES, told_left_out
from xai.errors import UsageError
from xai.models.card import Input


class Folder(Kind):
    """A folder: what lies deeper than a sub-folder a class is left out, and that is said.

    A folder with pictures of its own is flat: its sub-folders are left out. Links are followed where they stay inside.
    """

    name = "folder"
    summary = "a folder of pictures, or with a sub-folder of pictures a class"

    def recognises(self, source: object) -> bool:
        """Say whether it is a folder."""
        return isinstance(source, Path)

    def open(self, source: Path, spec: Input, labels: Path | None) -> Content:  # noqa: ARG002  # pictures fit
        """Return the pictures in the order of their names; raise UsageError if there are none."""
        no_labels("a folder", labels)
        inside = source.resolve()
        top = _listed(source, inside)
        if top.pictures:
            notes = told_left_out(source, sorted(top.foreign + top.folders), sorted(top.outside))
            return Files(source, sorted(top.pictures), notes=tuple(notes))
        names: list[str] = []
        classes: list[str] = []
        notes = told_left_out(source, sorted(top.foreign), sorted(top.outside))
        for folder in sorted(top.folders):
            listed = _listed(source / folder, inside)
            names += [f"{folder}/{name}" for name in sorted(listed.pictures)]
            classes += [folder] * len(listed.pictures)
            others = sorted(listed.foreign + listed.folders)
            notes += told_left_out(source / folder, others, sorted(listed.outside))
            if not listed.pictures:
                notes.append(f"folder {source / folder} holds no picture")
        if not names:
            raise UsageError(f"folder {source} holds no picture ({', '.join(SUFFIXES)}), nor a folder of them")
        return Files(source, names, labels=classes, notes=tuple(notes), spread=True)


@dataclass
class _Listed:
    pictures: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def _listed(folder: Path, inside: Path) -> _Listed:
    """Return what a folder holds; of links, only those that lead to somewhere inside are taken."""
    listed = _Listed()
    with os.scandir(folder) as entries:
        for entry in entries:
            where = _place(entry, listed)
            # Only a link can lead out, and resolving each of a million files would take minutes.
            if where is not listed.foreign and entry.is_symlink():
                where = where if Path(entry.path).resolve().is_relative_to(inside) else listed.outside
            where.append(entry.name)
    return listed


def _place(entry: os.DirEntry[str], listed: _Listed) -> list[str]:
    try:
        if entry.is_dir():
            return listed.folders
        taken = entry.name.lower().endswith(SUFFIXES) and entry.is_file()
    except OSError:  # links that lead round in a circle
        taken = False
    return listed.pictures if taken else listed.foreign
