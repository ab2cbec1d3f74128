"""The panel of an activation: a layer's strongest channels, their gradients beside them, and both in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.figures import CHANNELS, colour_bar, coloured, gradient_scale, scale, strongest
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding

BAR = 120  # width of a unit's bar, in the drawing's own units


class Activation(Section):
    """Two grids of small maps with a colour bar each, or bars for units; one sentence, and a table."""

    family = "activation"
    body = """
<p class="reading">Layer <code>{{ f.parameters.layer }}</code> ({{ f.parameters.kind }}) has {{ total }} {{ noun }}{% if maps %} of {{ size }}{% endif %};
the {{ rows | length }} strongest are shown, by {{ "mean size over places" if maps else "size" }}.
{% if dead %}<b>{{ dead }}</b> of {{ total }} {{ "is" if dead == 1 else "are" }} zero everywhere for this input.{% else %}None is zero everywhere for this input.{% endif %}</p>
{% if maps %}
<div class="pair grids">
{% for grid in grids %}
<div><h4>{{ grid.title }}</h4>
<div class="channels">
{% for tile in grid.tiles %}<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ tile.picture }}" alt="Channel {{ tile.channel }}: {{ grid.what }} from {{ tile.low | number }} to {{ tile.high | number }}"><figcaption>{{ tile.channel }}</figcaption></figure>
{% endfor %}
</div>
<div class="bar"><img src="{{ grid.bar }}" alt="Colours from {{ grid.low | number }} to {{ grid.high | number }}">
<div class="ticks"><span>{{ grid.low | number }}</span><span>{{ ((grid.low + grid.high) / 2) | number }}</span><span>{{ grid.high | number }}</span></div>
<div class="unit">{{ grid.unit }}; one scale for all channels of this layer in this report</div></div></div>
{% endfor %}
</div>
<details><summary>The channels in numbers</summary>
<div class="scroll" tabindex="0" role="group" aria-label="The strongest channels of {{ f.parameters.layer }} in numbers"><table class="tiles">
<caption>The {{ rows | length }} strongest of {{ total }} channels, strongest first; the mean of activation times gradient tells what a channel adds, to first order, at a place</caption>
<thead><tr><th scope="col">channel</th><th scope="col">mean</th><th scope="col">highest</th><th scope="col">zeros</th><th scope="col">mean gradient</th><th scope="col">mean of activation x gradient</th></tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.channel }}</th><td>{{ row.mean | number }}</td><td>{{ row.highest | number }}</td><td>{{ row.zeros | share }}</td><td>{{ row.gradient | number }}</td><td>{{ row.product | number }}</td></tr>
{% endfor %}</table></div></details>
{% else %}
<p>There is no grid of rows and columns behind this layer's output: its {{ total }} numbers are its units, counted from 0.</p>
<div class="scroll" tabindex="0" role="group" aria-label="The strongest units of {{ f.parameters.layer }}"><table class="tiles units">
<caption>The {{ rows | length }} strongest of {{ total }} units; bars from {{ low | number }} to {{ high | number }}, to the right of the line where they are positive; the gradient is that of the output for {{ f.target.name }}</caption>
<thead><tr><th scope="col">unit</th><th scope="col">activation</th><td></td><th scope="col">gradient</th><th scope="col">activation x gradient</th></tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.channel }}</th><td>{{ row.mean | number }}</td>
<td><svg viewBox="0 0 {{ bar }} 12" aria-hidden="true"><path d="M{{ zero }} 0V12"/><rect class="{{ 'minus' if row.mean < 0 else 'plus' }}" x="{{ row.left }}" y="2" width="{{ row.width }}" height="8"/></svg></td>
<td>{{ row.gradient | number }}</td><td>{{ row.product | number }}</td></tr>
{% endfor %}</table></div>
{% endif %}
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw the strongest channels."""
        activation, gradient = (run.array(finding, name) for name in ("activation", "gradient"))
        order = strongest(activation)[:CHANNELS]
        maps = activation.ndim == 3
        rows = [_row(index, activation[index], gradient[index]) for index in order.tolist()]
        shared: dict[str, Any] = {
            "maps": maps,
            "noun": "channels" if maps else "units",
            "total": len(activation),
            "dead": finding.values["dead"].value,
            "rows": rows,
        }
        if not maps:
            return shared | _bars(rows, activation)
        target = finding.target.name if finding.target else ""
        limits = scale(run, finding), gradient_scale(run, finding)
        names = ("activation", f"change of the output for {target} by change of the activation")
        return shared | {
            "size": f"{activation.shape[1]} x {activation.shape[2]}",
            "small": activation.shape[2] <= 128,
            "grids": [
                {
                    "title": title,
                    "what": what,
                    "unit": unit,
                    "low": low,
                    "high": high,
                    "bar": pictures.add(colour_bar(signed=signed)),
                    "tiles": [_tile(index, values[index], (low, high), pictures, signed=signed) for index in order],
                }
                for title, what, unit, values, (low, high), signed in (
                    ("Activation", "activation", names[0], activation, limits[0], False),
                    ("Gradient", "gradient", names[1], gradient, limits[1], True),
                )
            ],
        }


def _row(index: int, activation: np.ndarray, gradient: np.ndarray) -> dict[str, Any]:
    """Return what the table says of one channel."""
    return {
        "channel": index,
        "mean": float(activation.mean()),
        "highest": float(activation.max()),
        "zeros": float((activation == 0).mean()),
        "gradient": float(gradient.mean()),
        "product": float((activation.astype(np.float64) * gradient).mean()),
    }


def _tile(
    index: int, values: np.ndarray, limits: tuple[float, float], pictures: Pictures, *, signed: bool
) -> dict[str, Any]:
    return {
        "channel": int(index),
        "picture": pictures.add(coloured(values, limits, signed=signed)),
        "low": float(values.min()),
        "high": float(values.max()),
    }


def _bars(rows: list[dict[str, Any]], activation: np.ndarray) -> dict[str, Any]:
    """Place the bars of units between the layer's extremes, zero among them."""
    low, high = min(0.0, float(activation.min())), max(0.0, float(activation.max()))
    per_unit = BAR / (high - low) if high > low else 0.0
    for row in rows:
        row["left"] = f"{(min(0.0, row['mean']) - low) * per_unit:.1f}"
        row["width"] = f"{abs(row['mean']) * per_unit:.1f}"
    return {"low": low, "high": high, "zero": f"{-low * per_unit:.1f}", "bar": BAR}
