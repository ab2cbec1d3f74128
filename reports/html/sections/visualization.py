"""The panel of a visualization: the picture that was made, and how the objective rose."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.figures import picture
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding

WIDTH, HEIGHT = 320, 120  # of the drawing, in its own units
SHOWN = 11  # points of the curve that the table lists at most


class Visualization(Section):
    """The picture, the curve of the objective, one sentence, and the curve as a table."""

    family = "visualization"
    body = """
<p class="reading">Raising the {{ f["values"]["raised"].value }} took it from <b>{{ first | number }}</b> to <b>{{ last | number }}</b> in {{ steps }} steps.
The model calls the picture <b class="name">{{ f["values"]["model's answer"].value }}</b>.</p>
<div class="pair">
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ made }}" alt="The picture that was made: the {{ f["values"]["raised"].value }} is {{ last | number }} for it">
<figcaption>the picture that was made</figcaption></figure>
<figure><svg class="curve" viewBox="-4 -4 {{ width + 8 }} {{ height + 8 }}" role="img" aria-label="The objective over {{ steps }} steps, from {{ first | number }} to {{ last | number }}; lowest {{ lowest | number }}, highest {{ highest | number }}">
<path class="frame" d="M0 0V{{ height }}H{{ width }}"/><polyline points="{{ points }}"/></svg>
<figcaption>the objective over {{ steps }} steps, between {{ lowest | number }} and {{ highest | number }}</figcaption></figure>
</div>
<details><summary>The curve in numbers</summary>
<div class="scroll" tabindex="0" role="group" aria-label="{{ f.title }}: the objective by step"><table class="tiles"><caption>The objective by step; between sizes of the picture the detail is resampled, so it may fall there</caption>
<thead><tr>{% for step, _ in table %}<th scope="col">{{ step }}</th>{% endfor %}</tr></thead>
<tr>{% for _, value in table %}<td>{{ '%.3g' | format(value) }}</td>{% endfor %}</tr></table></div></details>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw picture and curve."""
        raw, told = run.array(finding, "picture"), run.array(finding, "objective")
        shown = np.unique(np.linspace(0, len(told) - 1, SHOWN).round().astype(int))
        return {
            "made": pictures.add(picture(raw, run.range)),
            "small": raw.shape[-1] <= 128,
            "points": polyline(told, WIDTH, HEIGHT),
            "width": WIDTH,
            "height": HEIGHT,
            "steps": len(told) - 1,
            "first": float(told[0]),
            "last": float(told[-1]),
            "lowest": float(told.min()),
            "highest": float(told.max()),
            "table": [(int(step), float(told[step])) for step in shown],
        }


def polyline(values: np.ndarray, width: int, height: int) -> str:
    """Return the points of a curve (n,) for an SVG of that size: the first on the left, the highest on top."""
    across = np.linspace(0, width, len(values)) if len(values) > 1 else np.array([width / 2])
    span = float(np.ptp(values)) or 1.0
    down = height * (1 - (values - values.min()) / span)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
