"""Channels of a layer by number, as a person writes them: 3,7,12."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from xai.errors import UsageError
from xai.models.graph import Layer


def _written(given: Any) -> Any:
    """Write a list of numbers as a text."""
    return ",".join(map(str, given)) if isinstance(given, list | tuple) else given


ChannelList = Annotated[str, BeforeValidator(_written)]


def numbers_of(channels: str, layer: Layer, parameter: str) -> list[int]:
    """Return the channels that are named, each once.

    Args:
        channels: numbers from 0, separated by commas.
        layer: that has them.
        parameter: whose value they are, for what is said of a wrong one.

    Raises:
        UsageError: they are no numbers, or the layer has no such channel.
    """
    words = channels.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"{parameter}: expected numbers from 0, such as 3,7,12, received {channels!r}")
    named = list(dict.fromkeys(int(word) for word in words))
    if any(channel >= layer.channels for channel in named):
        raise UsageError(f"{parameter} is {channels}; layer {layer.name!r} has {layer.channels}, numbered from 0")
    return named
