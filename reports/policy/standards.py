"""The standards that a policy names: those that come with the program, and the user's own files."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field

from xai.errors import RefusedFileError, UsageError, unknown
from xai.reports import profiles
from xai.reports.policy.fields import Fields, Text
from xai.reports.policy.places import read
from xai.reports.policy.reading import ReadPolicy, fitted
from xai.reports.records import ClauseRecord, ProfileRecord

ENDS = (".yaml", ".yml")
_FOLDER = Path(profiles.__file__).parent


class Clause(Fields):
    """A clause, as far as a report can serve it."""

    asks: Text = Field(description="what it asks, in other words than the standard's own")
    families: tuple[Text, ...] = Field(
        default=(),
        description="families of findings that are evidence for it, all of them; `bounds or verification` where one is "
        "enough; record is the record itself",
    )
    beyond: str = Field(default="", description="what it asks and no analysis looks at")
    outside: str = Field(default="", description="why no report of this kind can serve it")


class Profile(Fields):
    """A standard's clauses."""

    title: Text = Field(description="the standard and its version")
    note: str = Field(default="", description="what a reader must know of this profile")
    clauses: Annotated[dict[str, Clause], Field(min_length=1, max_length=500)] = Field(
        description="by the standard's own numbers"
    )


def bundled() -> dict[str, Path]:
    """Return the profiles that come with the program, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def read_profile(path: Path) -> ProfileRecord:
    """Return the profile in a file; raise UsageError or RefusedFileError as for a policy."""
    written = read(path, "profile")
    found = fitted(written, Profile, f"profile {path}")
    return ProfileRecord(
        name=path.stem,
        title=found.title,
        note=found.note,
        digest=hashlib.sha256(written.content).hexdigest(),
        clauses=tuple(ClauseRecord(id=name, **clause.model_dump()) for name, clause in found.clauses.items()),
    )


def profiles_of(policy: ReadPolicy) -> tuple[ProfileRecord, ...]:
    """Return the profiles that a policy names; a file is looked for beside the policy.

    Raises:
        RefusedFileError: there is no such profile, it is none, or a requirement serves a clause that none of them has.
    """
    found: dict[str, ProfileRecord] = {}
    for place, name in enumerate(policy.policy.profiles):
        try:
            profile = read_profile(_path(name, policy.source.parent))
        except UsageError as error:
            raise policy.refused(("profiles", place), str(error)) from None
        if profile.name in found:
            raise policy.refused(("profiles", place), f"the profile {profile.name!r} is named twice")
        found[profile.name] = profile
    _check_clauses(policy, found)
    return tuple(found.values())


def _path(name: str, beside: Path) -> Path:
    if name.endswith(ENDS):
        return beside / name
    known = bundled()
    if name not in known:
        raise unknown("profile", name, known)
    return known[name]


def _check_clauses(policy: ReadPolicy, found: dict[str, ProfileRecord]) -> None:
    """Refuse a policy whose requirements serve clauses that are in none of its profiles."""
    known = [f"{profile.name} {clause.id}" for profile in found.values() for clause in profile.clauses]
    for place, one in enumerate(policy.policy.requirements):
        for inner, clause in enumerate(one.clauses):
            if clause not in known:
                raise _no_clause(policy, ("requirements", place, "clauses", inner), clause, known)


def _no_clause(policy: ReadPolicy, where: tuple[str | int, ...], clause: str, known: list[str]) -> RefusedFileError:
    near = difflib.get_close_matches(clause, known, n=2, cutoff=0.6)
    told = f"did you mean {' or '.join(map(repr, near))}?" if near else "name its standard under profiles"
    return policy.refused(where, f"there is no clause {clause[:60]!r} in the profiles of this policy; {told}")
