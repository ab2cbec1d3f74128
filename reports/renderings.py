"""The renderings of an audit beside its page, by name; each is made from the record and its artefacts alone."""

from __future__ import annotations

from collections.abc import Callable

from xai.reports.evidence import Evidence
from xai.reports.junit import junit
from xai.reports.sheets import samples_csv, trace_csv
from xai.reports.summary import summary_md

RENDERINGS: dict[str, Callable[[Evidence], bytes]] = {
    "junit.xml": junit,
    "trace.csv": trace_csv,
    "samples.csv": samples_csv,
    "summary.md": summary_md,
}


def renderings(run: Evidence) -> dict[str, bytes]:
    """Return the files of a run with an audit; none for any other."""
    return {name: make(run) for name, make in RENDERINGS.items()} if run.record.audit else {}
