"""Texts from outside, made fit for a page or a terminal."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """Replace control and formatting characters (escape sequences, changes of direction), line ends excepted."""
    return "".join(
        sign if sign == "\n" or not unicodedata.category(sign).startswith("C") else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )
