"""The panel of exemplars: for each channel the entries of a data set that it answers to most."""

from __future__ import annotations

from typing import Any

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding

NAMED = 3  # inputs of a channel that are named


class Exemplars(Section):
    """A row of pictures a channel, each with its label and the channel's mean activation."""

    family = "exemplars"
    wide = True
    body = """
<p class="reading">{{ channels | length }} {{ "channel" if channels | length == 1 else "channels" }} of layer <code>{{ f.parameters.layer }}</code>, each with the {{ most }} of {{ f.parameters["entries read"] | count }} entries that {{ "it answers" if channels | length == 1 else "they answer" }} to most.</p>
<div class="panels">
{% for channel in channels %}
<div><h4>Channel {{ channel.channel }}</h4>
<p class="meaning">{{ "Mean activation for" if f.parameters.get("channels named") else "Among the strongest for" }} {{ channel.words }}.</p>
<div class="examples close">
{% for one in channel.rows %}<figure>{% if one.picture %}<img class="pixels" src="{{ one.picture }}" alt="{{ one.id }}, {{ "label " ~ one.label if one.label else "no label" }}: mean activation of channel {{ channel.channel }} {{ one.mean | number }}">{% endif %}
<figcaption><b>{{ one.mean | number }}</b><br>{{ one.label or "no label" }}{% if one.answer != one.label %}, answer <span class="name">{{ one.answer }}</span>{% endif %}<br><span class="name">{{ one.id }}</span></figcaption></figure>
{% endfor %}
</div></div>
{% endfor %}
</div>
<p class="unit">The numbers are means of the channel’s activation over places.</p>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Lay out the channels, in the order of the inputs that they are strongest for."""
        rows = list(get_rows(run.store, finding.artefacts["rows"]))
        shown = run.array(finding, "thumbnails") if "thumbnails" in finding.artefacts else None
        drawn = [
            {**row, "picture": "" if shown is None else pictures.add(shown[place])} for place, row in enumerate(rows)
        ]
        channels = [
            {
                "channel": one["channel"],
                "words": _listed(one["inputs"]),
                "rows": [row for row in drawn if row["channel"] == one["channel"]],
            }
            for one in get_rows(run.store, finding.artefacts["channels"])
        ]
        return {"channels": channels, "most": max(len(one["rows"]) for one in channels)}


def _listed(inputs: dict[str, float]) -> str:
    shown = ", ".join(f"{name} ({mean:.4g})" for name, mean in list(inputs.items())[:NAMED])
    return shown + (f" and {len(inputs) - NAMED} more" if len(inputs) > NAMED else "")
