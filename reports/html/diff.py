"""The page of a comparison: what newly fails on top, then requirements, images and maps."""

from __future__ import annotations

from xai.reports.diff import Comparison, Image
from xai.reports.html.audit import MARKS
from xai.reports.html.page import environment, styled

LISTED = 100  # images of a kind


def render_diff(comparison: Comparison) -> str:
    """Return the page: one file, without a script, its policy as strict as a report's."""
    style, csp = styled("report.css", "audit.css")
    lost = [image for image in comparison.images if image.lost]
    gained = [image for image in comparison.images if image.gained]
    template = environment().get_template("diff.html")
    return template.render(
        c=comparison,
        said=told(comparison),
        failing=comparison.turned("newly failing"),
        mended=comparison.turned("mended"),
        declined=comparison.declined,
        marks=MARKS,
        lost=_first(lost),
        lost_count=len(lost),
        gained=_first(gained),
        gained_count=len(gained),
        style=style,
        csp=csp,
    )


def told(comparison: Comparison) -> str:
    """Say in one sentence what came out."""
    failing, declined = len(comparison.turned("newly failing")), len(comparison.declined)
    parts = [
        f"{count} {noun}{'' if count == 1 else 's'} {'newly fails' if count == 1 else 'newly fail'}"
        if noun == "requirement"
        else f"{count} {noun}{'' if count == 1 else 's'} declined"
        for count, noun in ((failing, "requirement"), (declined, "outcome"))
        if count
    ]
    risen = len(comparison.risen)
    better = f"; {risen} outcome{' is' if risen == 1 else 's are'} better" if risen else ""
    fallen = any(image.lost for image in comparison.images)
    calm = "Nothing fell by more than chance explains" if fallen else "Nothing newly fails that was compared"
    return f"{' and '.join(parts) or calm}{better}."


def _first(images: list[Image]) -> list[Image]:
    return images[:LISTED]
