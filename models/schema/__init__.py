"""The JSON Schema of a model's card, for editors and for those who write cards without this package."""

from __future__ import annotations

import json
from pathlib import Path

from xai.models.card import Card

FILE = Path(__file__).parent / "card.json"


def text() -> str:
    """Return the schema (draft 2020-12) as it is shipped."""
    card = Card.model_json_schema()
    del card["$defs"]["Input"]["required"]  # the shape may be the model file's to say
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **card,
        "title": "Card of a model",
    }
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
