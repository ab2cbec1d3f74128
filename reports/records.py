"""Findings as data: frozen, typed and versioned. Every report is a rendering of these records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Literal["xai.run/1"] = "xai.run/1"

Status = Literal["ok", "skipped", "failed"]
Verdict = Literal["holds", "violated", "not decided"]
Speaks = Literal["for", "against", "neither"]
Severity = Literal["must", "should", "may"]
Bound = Literal["", "least"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Scalar = bool | int | Finite | str | None


class Record(BaseModel):
    """The base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Value(Record):
    """One measured number or word.

    Args:
        value: what was measured; None if it could not be.
        unit: its unit, in words.
        n: how many things it was measured on.
        interval: its two-sided 95 % confidence interval, if it is an estimate.
        bound: "least" if the truth is at least that, and may be anything above: what is proved, not what is so.
        reason: why it could not be measured, "" if it was.
    """

    value: Scalar
    unit: str = ""
    n: int | None = None
    interval: tuple[Finite, Finite] | None = None
    bound: Bound = ""
    reason: str = ""


class Artefact(Record):
    """A lossless array beside the record.

    Args:
        path: relative to the run's folder.
        sha256: of the file.
        shape: of the array.
        dtype: of the array.
    """

    path: str
    sha256: str
    shape: tuple[int, ...]
    dtype: str


class Prediction(Record):
    """One output of the model for one input.

    Args:
        index: of the output.
        name: its class.
        output: as the model gave it.
        probability: softmax over outputs that are logits, the output itself if it is a probability, else None.
    """

    index: int
    name: str
    output: Finite
    probability: Finite | None


class TargetRecord(Record):
    """The output that a finding is about.

    Args:
        index: of the output.
        name: its class, and the one that it stands against.
        against: index of the output that is taken away from it, if one is.
    """

    index: int
    name: str
    against: int | None = None


class InputRecord(Record):
    """One input.

    Args:
        id: unique within the run.
        source: the file or object it came from.
        digest: sha256 of the file; of the prepared tensor's bytes if there is no file.
        treatments: what was done to the picture, in order.
        range: lowest and highest value that the model takes.
        prepared: the tensor the model got, (channels, height, width) float32 in input units.
        predictions: the highest outputs first.
        chosen: why it is looked at closely, where an audit chose it: right, wrong, least sure, most easily attacked.
    """

    id: str
    source: str
    digest: str
    treatments: tuple[str, ...]
    range: tuple[Finite, Finite]
    prepared: Artefact
    predictions: tuple[Prediction, ...] = Field(min_length=1)
    chosen: tuple[str, ...] = ()


class LayerRecord(Record):
    """One layer: its output's shape is given without the batch, its multiply-adds for one input."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int | None = None


class BlockRecord(Record):
    """A part of the network, as it is drawn.

    Args:
        name: as in the source, "" if it has none.
        kind: the module's class or the operator; of the first "input", of the last "outputs".
        shape: of its output, without the batch.
        parameters: trained numbers.
        multiply_adds: for one input.
        sources: the blocks that it reads, as places in the list of blocks; all come before it.
        module: whether it is a module of the source.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    sources: tuple[int, ...]
    module: bool


class AnalysisRecord(Record):
    """Whether a method can be used on the model.

    Args:
        family: what kind of answer it gives.
        method: its name.
        title: its title.
        reason: why it cannot be used, "" if it can.
    """

    family: str
    method: str
    title: str
    reason: str = ""


class ModelRecord(Record):
    """The model as it was understood.

    Args:
        name: its name.
        source: the file or name it came from.
        format: what it was read from.
        architecture: what named it, "" if the source brings it.
        digest: sha256 of the file, "" without one.
        fingerprint: sha256 of graph and tensors.
        card: what is declared of it.
        assumed: what had to be assumed.
        parameters: trained numbers; None for a black box.
        layers: those that hold no other layer, in order of computation.
        no_graph: why it is a black box, "" if it is none.
        guessed: fields of the card that stand on an assumption ("input.mean"), and which.
        multiply_adds: of matrix products and convolutions, for one input; None if unknown.
        weight_bytes: of all tensors; None if unknown.
        activation_bytes: that live at once for one input, float32; None if unknown.
        blocks: the network at a glance, in order of computation.
        spatial_layer: the last layer with rows and columns that reach the outputs, "" if there is none or none was
            looked for.
        no_spatial_layer: why there is none.
        analyses: which methods can be used on it, where that was asked.
    """

    name: str
    source: str
    format: str
    architecture: str
    digest: str
    fingerprint: str
    card: dict[str, Any]
    assumed: tuple[str, ...]
    parameters: int | None
    layers: tuple[LayerRecord, ...]
    no_graph: str
    guessed: dict[str, str] = {}
    multiply_adds: int | None = None
    weight_bytes: int | None = None
    activation_bytes: int | None = None
    blocks: tuple[BlockRecord, ...] = ()
    spatial_layer: str = ""
    no_spatial_layer: str = ""
    analyses: tuple[AnalysisRecord, ...] = ()

    @property
    def elsewhere(self) -> tuple[int, int]:
        """Parameters and multiply-adds of what the network does outside of the layers that are listed."""
        held = sum(layer.parameters for layer in self.layers if "@" not in layer.name)  # a second use holds the same
        done = sum(layer.multiply_adds or 0 for layer in self.layers)
        return max(0, (self.parameters or 0) - held), max(0, (self.multiply_adds or 0) - done)


class Trust(Record):
    """What one measure says about how far an answer can be trusted.

    Args:
        measure: the measure's name.
        title: the measure's title.
        sentence: what was found, in plain words.
        speaks: for the answer, against it, or neither.
        description: what the measure looks at.
        limits: what it does not mean.
        source: the paper.
        kind: how much it is worth.
        status: "ok", "skipped" (does not apply) or "failed".
        reason: why it was skipped or failed, "" otherwise.
        parameters: every parameter that shaped it.
        values: what was measured, by name.
        seconds: it took.
        artefacts: arrays by name.
    """

    measure: str
    title: str
    sentence: str = ""
    speaks: Speaks = "neither"
    description: str
    limits: str
    source: str
    kind: str
    status: Status
    reason: str = ""
    parameters: dict[str, Scalar] = {}
    values: dict[str, Value] = {}
    seconds: Finite = 0.0
    artefacts: dict[str, Artefact] = {}


class Finding(Record):
    """What one method found, for one input or of the model alone: what was asked and what came out.

    Args:
        id: unique within the run.
        family: "explanation" (a map), "visualization" (a picture), "activation" (a layer's channels), ...
        method: the method's name.
        title: the method's title.
        description: what its answer means.
        limits: what its answer does not mean.
        source: the paper.
        kind: how much its answer is worth: exact, sound, statistical or heuristic.
        input: id of the input; None if the answer is about the model alone.
        target: the output it is about.
        status: "ok", "skipped" (does not apply) or "failed".
        reason: why it was skipped or failed, "" otherwise.
        verdict: for what can hold or not.
        parameters: every parameter that shaped the answer, also those chosen automatically.
        values: what was measured, by name.
        notes: what a reader must know of this very answer.
        trust: how far the answer can be trusted, a record a measure.
        seconds: it took; its share where several targets were explained at once.
        artefacts: arrays by name; an explanation's "map" is (height, width) float32, raw; a visualization's "picture"
            is (channels, height, width) float32 in input units, and its "objective" float64, from the start on; an
            activation's "activation" and "gradient" are (channels, rows, columns) or (units,) float32; bounds' "lower"
            and "upper", in parts of some images each, are (images, ...) or (sizes, images, ...) float64.
    """

    id: str
    family: str
    method: str
    title: str
    description: str
    limits: str
    source: str
    kind: str
    input: str | None
    target: TargetRecord | None = None
    status: Status
    reason: str = ""
    verdict: Verdict | None = None
    parameters: dict[str, Scalar] = {}
    values: dict[str, Value] = {}
    notes: tuple[str, ...] = ()
    trust: tuple[Trust, ...] = ()
    seconds: Finite = 0.0
    artefacts: dict[str, Artefact] = {}

    def timeless(self) -> Finding:
        """Return the finding without how long it took: what two runs of the same request have in common."""
        trust = tuple(entry.model_copy(update={"seconds": 0.0}) for entry in self.trust)
        return self.model_copy(update={"seconds": 0.0, "trust": trust})


class EvidenceRecord(Record):
    """Where a requirement's value was found.

    Args:
        finding: id of the finding.
        value: the value's name.
        measure: the measure that gives it, "" if the finding itself does.
    """

    finding: str
    value: str
    measure: str = ""


class RequirementRecord(Record):
    """What was required before anything was measured, and what came of it.

    Args:
        id: unique within the policy.
        text: what is required, in the words of who requires it.
        demand: the expression that decides, its confidence included.
        severity: "must", "should" or "may".
        clauses: "<profile> <clause>" that it serves.
        verdict: holds, violated or not decided.
        sentence: what was measured, in words.
        reason: why it is not decided, "" where it is.
        kind: what the evidence is worth: exact, sound, statistical or heuristic; "" without evidence.
        estimate: what was measured.
        interval: the two one-sided ends that decide.
        n: how many things it was measured on.
        needed: about how many would decide it.
        evidence: where the value was found.
    """

    id: str
    text: str
    demand: str
    severity: Severity
    clauses: tuple[str, ...] = ()
    verdict: Verdict
    sentence: str
    reason: str = ""
    kind: str = ""
    estimate: Scalar = None
    interval: tuple[Finite, Finite] | None = None
    n: int | None = None
    needed: int | None = None
    evidence: tuple[EvidenceRecord, ...] = ()


class ClauseRecord(Record):
    """A clause of a standard, as far as a report can serve it.

    Args:
        id: as the standard numbers it.
        asks: what it asks, in other words.
        families: of findings that are evidence for it, "A or B" where one is enough; "record" is the record itself.
        beyond: what it asks and nothing here looks at; "" if there is nothing of the kind.
        outside: why it is outside of what a report can serve, "" if it is not.
    """

    id: str
    asks: str
    families: tuple[str, ...] = ()
    beyond: str = ""
    outside: str = ""


class ProfileRecord(Record):
    """A standard's clauses, as they were when the policy was read.

    Args:
        name: by which a policy calls it.
        title: of the standard, with its version.
        note: what a reader must know of it.
        digest: sha256 of its file.
        clauses: that a report may serve.
    """

    name: str
    title: str
    note: str = ""
    digest: str
    clauses: tuple[ClauseRecord, ...]


class PolicyRecord(Record):
    """The policy, whole: what was said before anything was measured.

    Args:
        source: its file.
        digest: sha256 of the file's bytes.
        read: when it was read, ISO 8601 in UTC; before the first analysis.
        text: the whole file.
    """

    source: str
    digest: str
    read: str
    text: str


class PropertiesRecord(Record):
    """The file of properties that a policy names, whole.

    Args:
        source: the file.
        digest: sha256 of its bytes.
        text: all of it.
    """

    source: str
    digest: str
    text: str


class AuditRecord(Record):
    """What was required of a model, against which standards, and what came of it.

    Args:
        schema_version: of this part.
        policy: it was required in.
        properties: that it names, where it names any.
        profiles: the standards that are served.
        requirements: with their verdicts.
    """

    schema_version: Literal["xai.audit/1"] = "xai.audit/1"
    policy: PolicyRecord
    properties: PropertiesRecord | None = None
    profiles: tuple[ProfileRecord, ...] = ()
    requirements: tuple[RequirementRecord, ...] = ()


class RunRecord(Record):
    """A whole run: what was asked, of what, with what, and what was found.

    Args:
        schema_version: of these records.
        verb: "explain", ...
        command: the command line or call that makes the run again.
        created: when it began, ISO 8601 in UTC.
        seconds: it took.
        versions: of Python and the packages that computed.
        settings: device, seed, threads and memory.
        model: the model.
        inputs: the inputs.
        findings: what was found.
        notes: what a reader must know of the whole run.
        audit: what was required, where anything was.
    """

    schema_version: Literal["xai.run/1"] = SCHEMA
    verb: str
    command: str
    created: str
    seconds: Finite
    versions: dict[str, str]
    settings: dict[str, str | int]
    model: ModelRecord
    inputs: tuple[InputRecord, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    audit: AuditRecord | None = None
