"""Texts from outside, made fit for a record, a page or a terminal."""

from __future__ import annotations

import unicodedata


def storable(text: str) -> str:
    """Replace what UTF-8 cannot hold: the bytes of a file name that is not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def visible(text: str) -> str:
    """Replace control and formatting characters (escape sequences, changes of direction), line ends excepted."""
    if text.isprintable():  # most texts are, and pages hold long ones
        return text
    return "".join(
        sign if sign == "\n" or not unicodedata.category(sign).startswith("C") else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )
