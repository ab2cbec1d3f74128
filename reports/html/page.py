"""The page: header, inputs with their findings, model, and how to make it again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from xai.reports.evidence import Evidence
from xai.reports.figures import encoded, picture, thumbnail
from xai.reports.html.architecture import drawing
from xai.reports.html.audit import Truth, audit_parts, truths
from xai.reports.html.sections.base import Figure, Pictures, section_for
from xai.reports.records import Finding, InputRecord
from xai.reports.words import amount, at_least, duration, memory, number, points, share, short
from xai.text import visible

BUDGET = 5 * 2**20
SIDE_FOLDER = "report-images"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Head:
    """What stands above a run's report: "<before> “name”<after>", and what a reader must bear in mind.

    `noun` is what an input is to the run, `alone` the title of the findings that are about no input; they come first
    where the inputs are but examples of them.
    """

    title: str
    kicker: str
    before: str
    after: str
    caution: str
    alone: str = "The model alone"
    about_alone: str = "What it answers to, told of the model and not of any one input."
    alone_first: bool = False
    noun: str = "picture"


_FEW = 8  # analyses that are named one by one
_HEADS = {
    "explain": Head(
        title="what does it look at?",
        kicker="explanation report",
        before="What does",
        after=" look at?",
        caution="These maps show what the model responded to. They are heuristics: none of them proves that the model "
        "is right, or right for the right reason.",
    ),
    "explain summary": Head(
        title="what does it look at?",
        kicker="explanation report",
        before="What does",
        after=" look at?",
        caution="These maps show what the model responded to. They are heuristics: none of them proves that the model "
        "is right, or right for the right reason. A place that is suspected is one for a person to look at.",
        alone="All images together",
        about_alone="What the measures say of each method's maps, by class; and which maps are alike.",
        alone_first=True,
        noun="image",
    ),
    "attack": Head(
        title="what breaks it?",
        kicker="robustness report",
        before="What breaks",
        after="?",
        caution="Attacks find failures; they do not prove that there are no others. What still stands here may fall to "
        "a stronger attack.",
        alone="What stands, and what fell",
        about_alone="Each attack is tried on what those before it left standing, so the last figure is that of all.",
        alone_first=True,
        noun="example",
    ),
    "bounds": Head(
        title="what can its outputs become?",
        kicker="bounds report",
        before="What can the outputs of",
        after=" become?",
        caution="What a bound proves holds for every input of its region, and for no other. Where it decides nothing, "
        "nothing is known: a bound that is too wide says nothing of the network. Statistics of a smoothed classifier "
        "are no proof.",
        alone="What is known of all images",
        about_alone="Shares are of all images that could be read, with intervals for how few they are.",
        alone_first=True,
        noun="image",
    ),
    "verify": Head(
        title="what is proved?",
        kicker="proof report",
        before="What is proved of",
        after="?",
        caution="What is proved holds for every input of its region, and for no other. What is not decided may hold or "
        "not. A counterexample is an input that was found, stored, and put before the model again.",
        alone="What is known",
        about_alone="Attacks come first, then bounds, then a search that cuts the region until its time is up.",
        alone_first=True,
        noun="counterexample",
    ),
    "audit": Head(
        title="verification report",
        kicker="verification report",
        before="What was required of",
        after=", and what was found",
        caution="This report says what was measured against what was required beforehand. It is no certificate: what "
        "holds was found on these data, with these methods, and each of them says what it does not mean.",
        alone="What was found",
        about_alone="The evidence, analysis by analysis.",
        alone_first=True,
        noun="image",
    ),
    "ood fit": Head(
        title="what does it know?",
        kicker="out-of-distribution detectors",
        before="What does",
        after=" know?",
        caution="A detector says whether an image is like those that it was fitted to. It says nothing of whether the "
        "model is right on it.",
        alone="The detectors",
        about_alone="They learnt of one part of the images; the other part, held back, gave the thresholds.",
        alone_first=True,
        noun="image",
    ),
    "ood score": Head(
        title="is it known?",
        kicker="out-of-distribution report",
        before="What is foreign to",
        after="?",
        caution="In-distribution does not mean that the answer is right. Outliers of a kind that no detector sees pass "
        "unnoticed.",
        alone="All images",
        about_alone="Each is compared with images that were held back when the detectors were fitted.",
        alone_first=True,
        noun="image",
    ),
    "ood evaluate": Head(
        title="does it know what it does not know?",
        kicker="out-of-distribution report",
        before="Does",
        after=" know what it does not know?",
        caution="The figures are about these sets of outliers. Those that will come may be of another kind, and may be "
        "told worse.",
        alone="What is told apart",
        about_alone="Near and far are as their user sees them; probes are made of the in-distribution images.",
        alone_first=True,
        noun="image",
    ),
    "train": Head(
        title="what did it learn?",
        kicker="training report",
        before="What did",
        after=" learn?",
        caution="What counts is measured on the images that were held out. Training against attacks or with "
        "bounds proves nothing by itself: what is proved, other findings say.",
        alone="What was trained, and what came of it",
        about_alone="The training comes first, then what was measured of the network that it gave.",
        alone_first=True,
        noun="image",
    ),
    "inspect": Head(
        title="a look inside",
        kicker="inspection report",
        before="A look inside",
        after="",
        caution="Shapes, sizes and activations are read off the network itself. What its channels stand for is not "
        "known, and nothing here says that the model is right.",
    ),
}


@dataclass(frozen=True)
class Page:
    """A rendered report.

    Args:
        html: the page.
        files: pictures that did not fit into it, by path relative to the page.
    """

    html: str
    files: dict[str, bytes]


class Inline(Pictures):
    """Puts pictures into the page."""

    files: dict[str, bytes]

    def __init__(self) -> None:
        self.files = {}

    def add(self, pixels: Any) -> str:
        """Return a data: address."""
        extension, content = encoded(pixels)
        return f"data:image/{extension};base64,{base64.b64encode(content).decode()}"


class Beside(Pictures):
    """Puts pictures into a folder beside the page."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, pixels: Any) -> str:
        """Return a relative address."""
        extension, content = encoded(pixels)
        name = f"{SIDE_FOLDER}/{hashlib.sha256(content).hexdigest()[:32]}.{extension}"
        self.files[name] = content
        return name


def render(run: Evidence, budget: int = BUDGET) -> Page:
    """Return the report of a run; pictures move to a folder beside it once the page exceeds the budget in bytes."""
    page = _render(run, Inline())
    return page if len(page.html.encode()) <= budget else _render(run, Beside())


def environment() -> Environment:
    """Return the template environment: autoescape is on for everything, a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=number,
        at_least=at_least,
        share=share,
        count=amount,
        short=short,
        memory=memory,
        duration=duration,
        points=points,
    )
    return made


def styled(*names: str, images: str = "data:") -> tuple[Markup, str]:
    """Return style sheets as one, and the content security policy that admits it and nothing else.

    Args:
        names: of the sheets.
        images: where pictures may come from.
    """
    style = "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src {images}; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return Markup(style), policy  # our own files, not a user's text


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _render(run: Evidence, pictures: Inline | Beside) -> Page:
    jinja = environment()
    sheets = ("report.css", "audit.css") if run.record.audit else ("report.css",)
    style, policy = styled(*sheets, images="data:" if isinstance(pictures, Inline) else "'self' data:")
    known = truths(run)
    html = jinja.get_template("report.html").render(
        run=run.record,
        inputs=[_input(run, record, pictures, jinja, known.get(record.id)) for record in run.record.inputs],
        alone=_panels(run, [one for one in run.findings if one.input is None], pictures, jinja),
        headline=[] if run.record.audit else _headline(run),
        audit=audit_parts(run, jinja),
        tally=_tally(run.findings),
        methods=_methods(run.findings),
        head=_HEADS.get(run.record.verb, _HEADS["explain"]),
        drawing=_drawing(run, jinja),
        card=json.dumps(run.record.model.card, indent=1, ensure_ascii=False),
        style=style,
        csp=policy,
    )
    return Page(html, pictures.files)


def _drawing(run: Evidence, jinja: Environment) -> Markup:
    """Return the drawing of the network, if its blocks are known."""
    made = drawing(run.record.model.blocks)
    return Markup(jinja.get_template("architecture.html").render(d=made)) if made else Markup()  # autoescape is on


def _input(
    run: Evidence, record: InputRecord, pictures: Pictures, jinja: Environment, truth: Truth | None
) -> dict[str, Any]:
    is_picture = len(record.prepared.shape) == 3
    pixels = picture(run.prepared(record), record.range) if is_picture else None
    return {
        "record": record,
        "truth": truth,
        "picture": "" if pixels is None else pictures.add(pixels),
        "thumbnail": "" if pixels is None or len(run.record.inputs) < 2 else pictures.add(thumbnail(pixels)),
        "small": pixels is not None and pixels.shape[1] <= 128,
        "tally": _tally(finding for finding in run.findings if finding.input == record.id),
        **_chief(run, record, pictures, jinja),
    }


def _chief(run: Evidence, record: InputRecord, pictures: Pictures, jinja: Environment) -> dict[str, Any]:
    """Return the panels about an input: those that are shown, and those that are folded where an audit has many."""
    shown: list[Finding] = []
    folded: list[Finding] = []
    for finding in run.findings:
        if finding.input == record.id:
            (folded if run.record.audit and section_for(finding.family).secondary else shown).append(finding)
    return {
        "panels": _panels(run, shown, pictures, jinja),
        "folded": _panels(run, folded, pictures, jinja),
        "titles": list(dict.fromkeys(one.title for one in folded)),
    }


def _panels(run: Evidence, told: Sequence[Finding], pictures: Pictures, jinja: Environment) -> list[Markup]:
    """Return the panels of some findings; those of a family follow its first."""
    families: dict[str, list[Finding]] = {}
    for finding in told:
        families.setdefault(finding.family, []).append(finding)
    return [
        panel
        for family, findings in families.items()
        for panel in section_for(family).together(findings, run, pictures, jinja)
    ]


def _headline(run: Evidence) -> list[Figure]:
    """Return what the findings about no one input have to say on top."""
    done = [finding for finding in run.findings if finding.input is None and finding.status == "ok"]
    return [figure for finding in done for figure in section_for(finding.family).headline(finding)]


def _methods(findings: Sequence[Finding]) -> list[str]:
    """Return what was done, in few words: of many analyses only how many there are."""
    titles = list(dict.fromkeys(finding.title for finding in findings))
    return titles if len(titles) <= _FEW else [f"{len(titles)} analyses"]


def _tally(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many measures speak for and against the maps, and how many findings there are of each status."""
    held = list(findings)
    judged = [trust for finding in held for trust in finding.trust if trust.status == "ok"]
    return {
        **{word: sum(trust.speaks == word for trust in judged) for word in ("for", "against", "neither")},
        **{status: sum(finding.status == status for finding in held) for status in ("ok", "skipped", "failed")},
    }
