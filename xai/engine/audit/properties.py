"""The properties that a policy names: read beside it, and asked for by name."""

from __future__ import annotations

from collections import Counter

from xai.errors import UsageError, unknown
from xai.reports.policy.expression import Metric
from xai.reports.policy.reading import ReadPolicy
from xai.robustness.verify.statements import ReadStatements, read_statements


def read_properties(read: ReadPolicy) -> ReadStatements | None:
    """Return the properties of the file that a policy names, None where it names none.

    Raises:
        RefusedFileError: there is no such file, it is none of properties, or a requirement asks for what is not in it.
    """
    named = read.policy.properties
    found = None
    if named is not None:
        try:
            found = read_statements(read.source.parent / named)
        except UsageError as error:
            raise read.refused(("properties",), str(error)) from None
    _check_names(read, found)
    return found


def _check_names(read: ReadPolicy, found: ReadStatements | None) -> None:
    """Refuse a policy that asks for a property which its file does not hold, or holds twice."""
    held = Counter(map(str, found.statements.properties)) if found else Counter[str]()
    for number, (name, demand) in enumerate(read.policy.demands().items()):
        if demand.metric.name != "verified":
            continue
        fault = _fault(demand.metric, held, read.policy.properties)
        if fault:
            raise read.refused(("requirements", number), f"{name}: {fault}")


def _fault(metric: Metric, held: Counter[str], file: str | None) -> str:
    (wanted,) = metric.arguments
    if file is None:
        return f"{metric} asks for a property, and the policy names no file of them: properties: FILE.yaml"
    if not held[wanted]:
        return str(unknown("property", wanted, held))
    return "" if held[wanted] == 1 else f"{held[wanted]} properties in {file} have that name: give each its own"
