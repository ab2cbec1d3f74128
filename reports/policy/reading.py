"""A policy's file as a policy: every fault at once, each with line, column, what was expected and what was received."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from xai.errors import RefusedFileError, UsageError
from xai.reports.policy.fields import Policy
from xai.reports.policy.places import Fault, Where, Written, read, read_bytes, refused
from xai.reports.records import PolicyRecord

SHOWN = 60  # letters of what was received
LIVE = "the policy"  # the name of one that was given in Python
FieldsT = TypeVar("FieldsT", bound=BaseModel)


@dataclass(frozen=True)
class ReadPolicy:
    """A policy and the file that it was read from.

    Args:
        policy: as it is understood.
        source: the file.
        text: the whole file.
        digest: sha256 of the file's bytes.
        written: the file's data with their places.
    """

    policy: Policy
    source: Path
    text: str
    digest: str
    written: Written

    def refused(self, where: Where, words: str) -> RefusedFileError:
        """Return the error for a part of the file that does not fit what lies outside of it."""
        return refused(f"policy {self.source}", [Fault(*self.written.place(where), words)])


def read_policy(path: Path) -> ReadPolicy:
    """Return the policy in a file.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is no policy; all faults are named, each with its place.
    """
    written = read(path, "policy")
    policy = fitted(written, Policy, f"policy {path}")
    return ReadPolicy(policy, path, written.text, hashlib.sha256(written.content).hexdigest(), written)


def policy_of(fields: Mapping[str, Any]) -> ReadPolicy:
    """Return the policy that fields of a live mapping make; its text is their JSON, which is YAML, too.

    Raises:
        UsageError: something in them is no text, number, list or mapping.
        RefusedFileError: they are no policy; all faults are named.
    """
    try:
        text = json.dumps(dict(fields), indent=1, ensure_ascii=False, allow_nan=False, default=_path)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a policy is made of texts, numbers, lists and mappings: {error}") from None
    written = read_bytes(text.encode(errors="replace"), LIVE)
    policy = fitted(written, Policy, LIVE)
    return ReadPolicy(policy, Path(LIVE), text, hashlib.sha256(written.content).hexdigest(), written)


def reread(record: PolicyRecord) -> ReadPolicy:
    """Return the policy that a record holds, with the file that it was read from; raises as `read_policy` does."""
    written = read_bytes(record.text.encode(), "the recorded policy")
    policy = fitted(written, Policy, "the recorded policy")
    return ReadPolicy(policy, Path(record.source), record.text, record.digest, written)


def _path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"received a {type(value).__name__}")


def read_policy_text(text: str) -> Policy:
    """Return the policy that a record holds; raises RefusedFileError as `read_policy` does."""
    return fitted(read_bytes(text.encode(), "the recorded policy"), Policy, "the recorded policy")


def fitted(written: Written, kind: type[FieldsT], name: str) -> FieldsT:
    """Return a file's data as fields; raise RefusedFileError that names every fault with its place."""
    if not isinstance(written.data, dict):
        needed = [key for key, field in kind.model_fields.items() if field.is_required()]
        raise refused(name, [Fault(1, 1, f"expected fields: {', '.join(needed)}, ...")])
    try:
        return kind.model_validate(written.data)
    except ValidationError as error:
        found: list[dict[str, Any]] = [{**one} for one in error.errors(include_url=False)]
    raise refused(name, [_fault(written, one, kind) for one in found if not _follows(one, found)])


def schema_text() -> str:
    """Return the JSON Schema (draft 2020-12) of a policy."""
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Policy.model_json_schema(),
        "title": "Policy of an audit, xai.audit/1",
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _follows(error: dict[str, Any], found: list[dict[str, Any]]) -> bool:
    """Say whether a list is too short only since its entries have faults of their own."""
    where = error["loc"]
    return error["type"] == "too_short" and any(
        len(one["loc"]) > len(where) and one["loc"][: len(where)] == where for one in found
    )


def _fault(written: Written, error: dict[str, Any], kind: type[BaseModel]) -> Fault:
    where: Where = tuple(error["loc"])
    line, column = written.place(where)
    name = _named(where)
    given = _shown(error.get("input"))
    if error["type"] == "missing":
        field = _fields_of(kind, where[:-1])[str(where[-1])]
        return Fault(line, column, f"{name} is missing: {field.description}")
    if error["type"] == "extra_forbidden":
        known = _fields_of(kind, where[:-1])
        return Fault(line, column, f"there is no field {_shown(where[-1])}{_near(str(where[-1]), known)}")
    if error["type"] == "literal_error":
        words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        return Fault(line, column, f"{name}: expected {', '.join(words)}, received {given}{_alike(given, words)}")
    words_ = error["msg"].replace("Value error, ", "")
    told = "" if error["type"] == "value_error" else f", received {given}"
    return Fault(line, column, f"{name}: {words_}{told}")


def _named(where: Where) -> str:
    """Return how a part is called in a message; entries of lists are counted from 1 on."""
    parts = [f"#{part + 1}" if isinstance(part, int) else f".{part}" for part in where]
    return "".join(parts).removeprefix(".").replace("#", " #") or "the policy"


def _fields_of(kind: type[BaseModel], where: Where) -> dict[str, Any]:
    """Return the fields of the part of a policy that a place leads to."""
    fields: dict[str, Any] = dict(kind.model_fields)
    for part in where:
        if isinstance(part, str) and part in fields:
            inner = list(_models(fields[part].annotation))
            fields = dict(inner[0].model_fields) if inner else {}
    return fields


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; there are: {', '.join(names)}"


def _alike(given: str, words: list[str]) -> str:
    near = difflib.get_close_matches(given.strip("'"), words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if value is not None else "nothing"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
