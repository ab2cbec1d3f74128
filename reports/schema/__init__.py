"""The JSON Schema of a run's record, for those who read it without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xai.reports.records import SCHEMA, RunRecord

FILE = Path(__file__).parent / "run-1.json"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of record.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Record of a run, {SCHEMA}",
        **RunRecord.model_json_schema(mode="serialization"),
    }


def text() -> str:
    """Return the schema as it is shipped."""
    return json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
