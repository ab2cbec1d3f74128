"""One run of everything that a policy asks for; its requirements are decided over what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.engine.attempt import Attempt, attempt
from xai.engine.audit.answers import Answers, Asking
from xai.engine.audit.calibration import calibration
from xai.engine.audit.cost import cost
from xai.engine.audit.explained import chosen, read_again
from xai.engine.audit.parts import House, Part, Plans, attacked, bounded, explained, foreign, smoothed, stated, verified
from xai.engine.audit.performance import performance
from xai.engine.audit.properties import read_properties
from xai.engine.audit.repetition import IMAGES, repetition
from xai.engine.audit.wanted import wanted
from xai.engine.deciding import plan_deciding
from xai.engine.facts import model_record
from xai.engine.plan import ExplainPlan
from xai.engine.shards import OtherRunError, keep
from xai.engine.started import Started
from xai.engine.sweep import Sweep, repeatable, shard_size
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store, get_rows
from xai.reports.audit import begin, settle
from xai.reports.policy.fields import Policy
from xai.reports.policy.reading import ReadPolicy
from xai.reports.policy.standards import profiles_of
from xai.reports.records import AuditRecord, Finding, InputRecord, PropertiesRecord
from xai.reports.run import Run
from xai.robustness.verify.statements import ReadStatements
from xai.runtime import Runtime

log = logging.getLogger(__name__)
FOLDER = "audit"  # that keeps what is done, in a run's folder
BEGUN = "audit.json"  # in the folder of what is done: what was required, and when that was read
T = TypeVar("T")


@dataclass(frozen=True)
class Roles:
    """The data of an audit.

    Args:
        test: what requirements are measured on.
        calibration: what a temperature and detectors are fitted on.
        outliers: what the model was not made for, by name.
    """

    test: DataSet
    calibration: DataSet | None = None
    outliers: Mapping[str, DataSet] = field(default_factory=dict)


def audit(
    model: Model,
    read: ReadPolicy,
    roles: Roles,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Measure everything that a policy asks for, and decide its requirements.

    Args:
        model: what is audited.
        read: the policy.
        roles: the data that it names.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps what is done, so that a killed run goes on; default memory.
        jobs: shards at once; default one a core. The answer does not depend on it.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        UsageError: the policy names what does not exist or fit the model, or what is done is another audit's.
        RefusedFileError: no test image could be read, or a property does not fit the model.
    """
    properties = read_properties(read)
    audited = _begun(read, properties, folder)
    started = Started("audit", command)
    if model.card.output == "values":
        raise UsageError("an audit is of a classifier: this model's outputs are values; see xai bounds")
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    plans = planned(model, read, len(roles.test))
    deciding = plan_deciding(model, timeout=read.policy.verification.seconds, keep_proofs=True)
    compiled = properties.compiled(deciding.bounding) if properties else []
    work = _Work(House(model, runtime, store, folder, jobs), read, roles)
    work.measure()
    work.join(attacked(work.house, roles.test, plans), "robustness", "Under attack")
    work.join(bounded(work.house, roles.test, plans), "bounds", "What is certified")
    work.join(verified(work.house, roles.test, plans), "verification", "Verified accuracy")
    work.join(stated(work.house, compiled, deciding), "property", "Properties")
    work.join(smoothed(work.house, roles.test, plans), "smoothing", "Randomised smoothing")
    work.look(plans.explaining)
    work.foreign()
    return started.finished(
        model_record(model),
        work.settings,
        store,
        inputs=work.inputs.values(),
        findings=work.findings,
        notes=dict.fromkeys([*notes, *work.notes]),
        audit=settle(audited, work.findings),
    )


def planned(model: Model, read: ReadPolicy, images: int) -> Plans:
    """Return what other verbs are asked; raise UsageError with the place of what does not exist or fit.

    Args:
        model: what is audited.
        read: the policy.
        images: how many there are to test.
    """
    policy = read.policy
    try:
        return Plans.made(model, wanted(policy), images, policy.explanations)
    except UsageError as error:
        told = str(error)
    alone = policy.model_copy(update={"threat": policy.threat.model_copy(update={"epsilons": ()})})
    for number, one in enumerate(policy.requirements):
        if _unfit(model, alone.model_copy(update={"requirements": (one,)}), images):
            raise UsageError(str(read.refused(("requirements", number), f"{one.id}: {told}")))
    where = "threat" if _unfit(model, policy, images) else "explanations"
    raise UsageError(str(read.refused((where,), f"{where}: {told}")))


def _unfit(model: Model, policy: Policy, images: int) -> bool:
    try:
        Plans.made(model, wanted(policy), images, None)
    except UsageError:
        return True
    return False


def _begun(read: ReadPolicy, properties: ReadStatements | None, folder: Path | None) -> AuditRecord:
    """Return what is required, with the time when it was first read; a killed run's own is kept."""
    audited = begin(read, profiles_of(read), _recorded(properties))
    if folder is None:
        return audited
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / BEGUN
    if file.exists():
        earlier = AuditRecord.model_validate_json(file.read_text(encoding="utf-8"))
        if earlier.policy.digest != audited.policy.digest:
            raise OtherRunError(folder.parent, "the policies differ")
        if earlier.properties != audited.properties:
            raise OtherRunError(folder.parent, "the properties differ")
        return earlier
    keep(file, audited.model_dump_json())
    return audited


def _recorded(properties: ReadStatements | None) -> PropertiesRecord | None:
    if properties is None:
        return None
    written = properties.written
    return PropertiesRecord(source=str(properties.path), digest=sha256(written.content).hexdigest(), text=written.text)


class _Work:
    """What was found so far."""

    def __init__(self, house: House, read: ReadPolicy, roles: Roles) -> None:
        self.house, self.policy, self.roles = house, read.policy, roles
        self.findings: list[Finding] = []
        self.inputs: dict[str, InputRecord] = {}
        self.notes: list[str] = []
        self.settings: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []

    def measure(self) -> None:
        """Ask the model once for every image, and tell what its answers are worth."""
        house, test = self.house, self.roles.test
        answers = self._asked("answers", test)
        if not answers.images:
            check_any_read(test, [Skipped(index, **one) for index, one in enumerate(answers.skipped)])
        self.notes += [*test.notes, *answers.notes(test)]
        held = None if self.roles.calibration is None else self._asked("held", self.roles.calibration)
        self.rows = list(answers.rows())
        self.notes += _shared(self.rows, [] if held is None else held.rows())
        self.notes += _missing(self.policy.data.groups, self.rows)
        self.findings.append(performance(answers, house.model, house.store))
        self._try("calibration", lambda: calibration(answers, held, house.store, house.runtime))
        first = {row["id"]: "" for row in self.rows[:IMAGES]}
        samples, _ = read_again(test, self.rows[:IMAGES], first)
        with repeatable(house.model, house.runtime, "repetition"):
            self._try("repetition", lambda: repetition(house.model, samples))
            self._try("cost", lambda: cost(house.model, samples))

    def _asked(self, part: str, data: DataSet) -> Answers:
        house = self.house
        sweep = Sweep(house.model, data, house.runtime, shard_size(house.model))
        self.settings = self.settings or sweep.runtime.settings()
        kept = sweep.kept(house.room(part), {"part": part})
        work = Asking(house.model, sweep.runtime, house.store).shard
        sweep.run(work, kept, jobs=house.jobs, stage="asking", stages=1)
        return Answers(kept, len(sweep.shards), house.store)

    def _try(self, name: str, work: Callable[[], Finding]) -> None:
        """Tell a finding, or why there is none."""
        tried = _tried(name, work)
        self.add(name, failed(name, tried.status, tried.reason) if tried.answer is None else tried.answer)

    def join(self, parts: Iterable[Part], family: str, title: str) -> None:
        """Take over what other runs find; one that breaks is told as a finding that failed, and the others go on."""
        for part in parts:
            tried = _tried(part.name, part.work)
            if tried.answer is None:
                lost = failed(family, tried.status, tried.reason, title)
                self.add(part.name, lost.model_copy(update={"parameters": dict(part.about)}))
            else:
                self.take(part.name, tried.answer)

    def take(self, part: str, run: Run) -> None:
        """Take over what a run found."""
        for finding in run.findings:
            self.add(part, finding)
        for entry in run.record.inputs:
            self.inputs.setdefault(entry.id, entry)
        self.notes += [note for note in run.record.notes if note not in self.notes]

    def add(self, part: str, finding: Finding) -> None:
        """Tell a finding; where its id is taken, the part's name stands in front."""
        taken = any(finding.id == other.id for other in self.findings)
        self.findings.append(finding.model_copy(update={"id": f"{part}/{finding.id}"}) if taken else finding)

    def look(self, plan: ExplainPlan | None) -> None:
        """Explain images of each kind that the policy asks for."""
        asked = self.policy.explanations
        if asked is None or plan is None:
            return
        names = chosen(self.rows, self._attacked(), asked)
        samples, lost = read_again(self.roles.test, self.rows, names)
        self.notes += lost
        if not samples:
            return
        self.join([Part("explanations", partial(explained, self.house, samples, plan))], "explanation", "Explanations")
        for name in names.keys() & self.inputs.keys():
            self.inputs[name] = self.inputs[name].model_copy(update={"chosen": tuple(names[name])})

    def _attacked(self) -> list[dict[str, Any]]:
        whole = next((one for one in self.findings if one.family == "robustness" and one.status == "ok"), None)
        return [] if whole is None else list(get_rows(self.house.store, whole.artefacts["rows"]))

    def foreign(self) -> None:
        """Fit detectors, and try them on the outliers and on probes."""
        if not self.roles.outliers and not any(
            demand.metric.name.startswith("ood.") for demand in self.policy.demands().values()
        ):
            return
        if self.roles.calibration is None:
            reason = "detectors are fitted on calibration data, and the policy names none"
            self.findings.append(failed("ood-set", "skipped", reason, "Detectors of foreign images"))
            return
        runs = foreign(self.house, self.roles.calibration, self.roles.test, self.roles.outliers)
        self.join(runs, "ood-set", "Detectors of foreign images")


def _shared(rows: Iterable[Mapping[str, Any]], held: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say how many test images a temperature and detectors are fitted on, too."""
    fitted = {row["digest"] for row in held}
    both = sum(row["digest"] in fitted for row in rows)
    return [
        f"{both} of the test images are calibration images, too: what is said of the temperature and of detectors "
        "flatters them; name other images"
    ][: bool(both)]


def _missing(groups: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which groups that the policy names have no image."""
    held = {row["group"] for row in rows}
    lost = [name for name in groups if name not in held]
    return [f"the policy names groups that no test image is of: {', '.join(lost)}"] if lost else []


def _tried(name: str, work: Callable[[], T]) -> Attempt[T]:
    """Do a part; whatever breaks it is told of it alone, unless the folder belongs to another run."""
    try:
        return attempt(name, work)
    except OtherRunError:
        raise
    except UsageError as error:
        return Attempt("failed", None, str(error), 0.0)


def failed(family: str, status: str, reason: str, title: str = "") -> Finding:
    """Return the finding of a part that gave none."""
    return Finding(
        id=family,
        family=family,
        method=family,
        title=title or family.capitalize(),
        description="",
        limits="",
        source="",
        kind="heuristic",
        input=None,
        status="skipped" if status == "skipped" else "failed",
        reason=reason,
    )
