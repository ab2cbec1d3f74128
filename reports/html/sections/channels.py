"""The panel of channels' pictures: a contact sheet, each with its channel and how far it was raised."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.figures import channel_pictures
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding


class Channels(Section):
    """One sentence, and a grid of pictures whose captions carry the numbers."""

    family = "channel-pictures"
    wide = True
    body = """
<p class="reading">Each picture was made to raise the mean activation of one channel of layer <code>{{ f.parameters.layer }}</code>. <b>{{ rose }}</b> of {{ made | length }} {{ "channel" if made | length == 1 else "channels" }} rose in {{ steps }} steps{% if chosen %}; they are the ones that are strongest for this input{% endif %}.</p>
<div class="examples">
{% for one in made %}<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ one.picture }}" alt="Picture made for channel {{ one.channel }}: its mean activation {{ "went" if one.rose else "did not rise" }} from {{ one.before | number }} to {{ one.after | number }}">
<figcaption><b>channel {{ one.channel }}</b><br>{{ one.before | number }} → {{ one.after | number }}{% if not one.rose %} (did not rise){% endif %}{% if one.input is not none %}<br>for this input {{ one.input | number }}{% endif %}</figcaption></figure>
{% endfor %}
</div>
<p class="unit">The mean over places of the channel’s activation: for the noise that the picture began from, and for the picture.</p>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw the pictures, in the order of the channels."""
        names = ("channels", "objectives", "reached")
        channels, told, reached = (run.array(finding, name) for name in names)
        made = channel_pictures(run, finding)
        chosen = "of the input" in finding.artefacts
        given = run.array(finding, "of the input").tolist() if chosen else [None] * len(channels)
        return {
            "rose": finding.values["rose"].value,
            "steps": told.shape[1] - 1,
            "chosen": chosen,
            "small": made.shape[2] <= 128,
            "made": [
                {
                    "channel": int(channel),
                    "picture": pictures.add(pixels),
                    "before": float(objective[0]),
                    "after": float(after),
                    "rose": bool(after > objective[0]),
                    "input": of_input,
                }
                for channel, pixels, objective, after, of_input in zip(
                    channels, made, told, reached, given, strict=True
                )
            ],
        }
