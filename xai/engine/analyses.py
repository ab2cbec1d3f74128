"""What can be asked of a model: every method of every family, and why some cannot run on it."""

from __future__ import annotations

from collections.abc import Iterator

from xai.engine.enclosure import hindrances as of_bounding
from xai.engine.ood.plan import hindrance as of_detecting
from xai.engine.plan import hindrance as of_explaining
from xai.engine.smoothed import smoothing_hindrance as of_smoothing
from xai.engine.threat import hindrance as of_attacking
from xai.errors import NotApplicableError
from xai.explainers.base import explainers
from xai.measures.base import measures
from xai.models.model import Model
from xai.registry import Method
from xai.reports.records import AnalysisRecord
from xai.robustness.attacks.base import attacks
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.corruptions.base import Corruption, corruptions
from xai.robustness.ood.detectors.base import detectors
from xai.robustness.smoothing.certify import ABOUT as SMOOTHING


def analyses(model: Model) -> tuple[AnalysisRecord, ...]:
    """Return which methods there are, and why some cannot run on this model as they are by default."""
    return tuple(
        AnalysisRecord(family=family, method=about.name, title=about.title, reason=reason)
        for family, about, reason in _known(model)
    )


def _known(model: Model) -> Iterator[tuple[str, Method, str]]:
    """Give each method's family, what it says of itself, and why it cannot run, or ""."""
    for explaining in explainers.all().values():
        yield explaining.family, explaining.about, of_explaining(explaining(), model)
    for judging in measures.all().values():
        yield measures.noun, judging.about, of_explaining(judging(), model)
    for attacking in attacks.all().values():
        yield attacks.noun, attacking.about, of_attacking(attacking(), model, min(attacking.norms), targeted=False)
    for about, reason in of_bounding(model):
        yield bounders.noun, about, reason
    yield bounders.noun, SMOOTHING, of_smoothing(model)
    for damaging in corruptions.all().values():
        yield corruptions.noun, damaging.about, _of_damaging(damaging(), model)
    for detecting in detectors.all().values():
        yield detectors.noun, detecting.about, of_detecting(detecting(), model)


def _of_damaging(corruption: Corruption, model: Model) -> str:
    try:
        corruption.applies(model.input)
    except NotApplicableError as error:
        return str(error)
    return ""
