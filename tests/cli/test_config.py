"""xai config schema: the policy's JSON Schema on stdout, without torch."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.house.test_import import BLOCK


def test_the_schema_is_printed_without_torch() -> None:
    code = BLOCK + "from xai.cli.main import run; sys.exit(run(['config', 'schema']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    assert schema["title"] == "Policy of an audit, xai.audit/1"
    assert set(schema["required"]) == {"model", "data", "requirements"}
