"""The Python API: the same engine as the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xai.data.dataset import open_data
from xai.data.samples import left_out, read_samples
from xai.engine.asked import certify, plan_certifying
from xai.engine.attack import attack as run_attack
from xai.engine.audit.opening import open_model, open_roles
from xai.engine.audit.run import audit as run_audit
from xai.engine.calls import call_of, check_least, check_model, names_of, options_of, written
from xai.engine.changes import EXAMPLES
from xai.engine.choice import Parameters
from xai.engine.deciding import plan_deciding, plan_verify
from xai.engine.examined import EXAMPLES as SHOWN
from xai.engine.explain import explain as run_explain
from xai.engine.features import features as run_features
from xai.engine.inspect import inspect as run_inspect
from xai.engine.ood.detector import open_detector
from xai.engine.plan import plan_explain
from xai.engine.reference.run import NAME as REFERENCE
from xai.engine.reference.run import open_reference
from xai.engine.stated import verify_properties
from xai.engine.summary.run import check_alone, summarise
from xai.engine.threat import plan_attack
from xai.engine.training.plan import plan_train
from xai.engine.training.run import train as run_train
from xai.engine.training.trained import Trained
from xai.engine.verify import verify as run_verify
from xai.errors import UsageError
from xai.models.accelerated import accelerated
from xai.models.example import Example
from xai.models.features import OnFeatures
from xai.models.images import ImageLike
from xai.models.loading import Source
from xai.models.loading import load as load_model
from xai.models.model import Model
from xai.models.transfer import class_names
from xai.models.transfer import with_head as exchange_head
from xai.models.writing import write
from xai.reports.policy.reading import policy_of, read_policy
from xai.reports.run import Run
from xai.robustness.corruptions.base import SEVERITIES
from xai.robustness.training.trainer import nobody
from xai.robustness.verify.statements import read_statements
from xai.runtime import Progress, Runtime, resolve_device, silent


def load(
    source: Source,
    *,
    arch: str | None = None,
    card: str | Path | None = None,
    labels: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    trust_model: bool = False,
    example: Example | None = None,
    engine: str | None = None,
    **declared: Any,
) -> Model:
    """Open a model: a file, a folder, "torchvision:NAME", "timm:NAME", "sample:NAME" or something live.

    Live is a torch module, any callable(batch) -> scores, or an estimator with predict_proba; the last two, and modules
    that torch cannot export, are black boxes: what needs only outputs works.

    Args:
        source: what to open.
        arch: for files of weights: "torchvision:NAME", "timm:NAME" or "path/to/net.py:function", arguments allowed.
        card: YAML file that says what the model file does not; default <stem>.yaml or model.yaml beside it.
        labels: file with the classes' names.
        device: "auto", "cpu" or "cuda".
        seed: for weights that no file gives.
        trust_model: whether code in the model file (a whole pickle) may run; only for files that you trust.
        example: an input of a live network, or a batch of them, in input units: it tells the shape.
        engine: what runs the network where no gradient is needed: "torch", or "openvino" (an extra).
        **declared: fields of the card or of its input, before the file's: shape=(3, 224, 224), mean=..., std=...,
            range=..., resize=..., classes=..., output=..., name=...

    Raises:
        xai.errors.UsageError: a path or name does not exist, or something is missing.
        xai.errors.RefusedFileError: a file is unsafe, unreadable, or not what it says.
    """
    place = resolve_device(device)
    model = load_model(
        source,
        arch=arch,
        card=card,
        labels=labels,
        device=place,
        seed=seed,
        trusted=trust_model,
        example=example,
        **declared,
    )
    model = accelerated(model, engine or "torch")
    options = {"arch": arch, "card": card, "labels": labels, "seed": seed or None, "engine": engine, **declared}
    options |= {"trust_model": trust_model or None, "example": example}
    return replace(model, call=f"xai.load({written(source)}{options_of(options)})")


def explain(
    model: Model,
    image: ImageLike | Iterable[ImageLike],
    *,
    methods: str | Iterable[str] | None = None,
    measures: str | Iterable[str] | None = None,
    target: str | int | None = None,
    against: str | int | None = None,
    top: int | None = None,
    masks: str | Path | None = None,
    layer: str | None = None,
    parameters: Parameters | None = None,
    detector: Run | str | Path | None = None,
    reference: Any = None,
    reference_labels: str | Path | None = None,
    summary: bool = False,
    labels: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Explain what a model looks at.

    Args:
        model: from `load`.
        image: a path, a folder, a PIL picture, an array of bytes (height, width[, channels]), a tensor (channels,
            height, width) in input units, or several of these.
        methods: names (see `xai methods`), or "all"; default the quick ones.
        measures: names of what judges the maps, "all" or "none"; default the quick ones.
        target: a class's name or index; default the predicted one.
        against: explain why the target rather than this class: a name or index, or "next", the highest other output.
        top: explain that many of the highest outputs instead.
        masks: folder of pictures that are not black where the objects are, of the same names.
        layer: for the methods that look at one.
        parameters: of methods, measures and the reference, by name: {"occlusion": {"window": 16}, "reference":
            {"channels": [3, 17], "exemplars": 9, "neighbours": 8}}.
        detector: what `xai.ood.fit` returned, or its folder: says of each picture whether it is foreign to the model.
        reference: data, as for `attack`, that each picture is put beside: its nearest entries where the network
            decides, and the entries that its strongest channels answer to most.
        reference_labels: file with a label each, for arrays that do not bring them.
        summary: whether the pictures are a data set, as for `attack`, that is told together: one finding a method, with
            a row an image, what the measures say by class, groups of maps, and places that are suspected.
        labels: of a summary: file with a label each, for arrays that do not bring them; it needs none.
        limit: of a summary: take only so many images.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run["gradcam"].map is (height, width) float32; run.save(folder) writes report and evidence. Of a
        summary run["gradcam"].rows has a row an image, and run["gradcam"].values shares with their intervals.

    Raises:
        xai.errors.UsageError: a name or value does not exist or fit.
        xai.errors.RefusedFileError: a picture is damaged.
    """
    check_least(1, limit=limit)
    names, judges = names_of(methods), names_of(measures)
    settings = dict(parameters or {})
    sought = None if summary else settings.pop(REFERENCE, None)
    plan = plan_explain(model, names, target, layer, settings, judges, top, against)
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    call = call_of(
        "explain",
        model,
        image,
        methods=names,
        measures=judges,
        target=target,
        against=against,
        top=top,
        masks=masks,
        layer=layer,
        parameters=parameters,
        detector=detector,
        reference=reference,
        reference_labels=reference_labels,
        summary=summary or None,
        labels=labels,
        limit=limit,
        seed=seed or None,
    )
    compared = reference_labels if reference is None else reference
    check_alone(
        summary=summary,
        single={"masks": masks, "detector": detector, "reference": compared},
        together={"labels": labels, "limit": limit},
    )
    if summary:
        images = open_data(image, model, labels=labels).limited(limit)
        return summarise(model, images, plan, runtime=runtime, command=call)
    opened = None if detector is None else open_detector(detector, model)
    beside = open_reference(model, reference, reference_labels, layer, sought)
    samples = read_samples(image, model, masks)
    return run_explain(
        model,
        samples,
        plan,
        detector=opened,
        reference=beside,
        runtime=runtime,
        command=call,
        notes=left_out(image),
    )


def attack(
    model: Model,
    data: Any,
    *,
    attacks: str | Iterable[str] | None = None,
    plan: str | None = None,
    norm: str = "linf",
    eps: str | float | Iterable[str | float] | None = None,
    target: str | int | None = None,
    limit: int | None = None,
    labels: str | Path | None = None,
    corruptions: str | Iterable[str] | None = None,
    severities: int | Iterable[int] = SEVERITIES,
    parameters: Parameters | None = None,
    examples: int = EXAMPLES,
    alarms: str | Iterable[str] | None = None,
    surrogate: Model | None = None,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Attack a model on every image of a data set, and re-check what was found.

    Args:
        model: from `load`.
        data: a path (see `xai.data.dataset.open_data`), a pair of inputs (n, ...) and labels, a torch Dataset, a list
            of pictures, or one picture. Without labels the model's own answer is taken.
        attacks: names (see `xai methods`), or "all"; default PGD.
        plan: a named set of attacks instead: "standard" is the AutoAttack ensemble.
        norm: "linf", "l2" or "l1".
        eps: largest changes in input units, numbers or "8/255"; default 1, 2, 4 and 8/255 of the range for linf. An
            attack that looks for the smallest change needs none.
        target: the class that the attacker wants; default any but the right one.
        limit: take only so many images.
        labels: file with a label each, for arrays that do not bring them.
        corruptions: what happens without an attacker: names, "default" (the fifteen of ImageNet-C) or "all".
        severities: of the corruptions, 1 to 5.
        examples: how many of the adversarial inputs are looked at closer: what changed, and what became of the maps.
        parameters: of attacks, corruptions and alarms, by name: {"pgd": {"steps": 100}}.
        alarms: names of what tells whether the answer can be believed, "all" or "none"; default those that need
            nothing more.
        surrogate: another model for the same task, whose gradients are tried on this one.
        jobs: shards at once; default one a core. The answer does not depend on it.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run["robustness"].values has accuracy, robust accuracy and success rate at each eps with their
        intervals, run["robustness"].rows a row an image; run.save(folder) writes report and evidence.

    Raises:
        xai.errors.UsageError: a name or value does not exist or fit, or none of the attacks can be tried.
        xai.errors.RefusedFileError: no image could be read.
    """
    names = names_of(attacks)
    check_model(model)
    check_least(1, jobs=jobs, limit=limit)
    check_least(0, examples=examples, seed=seed)
    sizes = _sizes(eps)
    damage, degrees = names_of(corruptions), [severities] if isinstance(severities, int) else list(severities)
    listened = names_of(alarms)
    planned = plan_attack(
        model,
        names,
        plan=plan,
        norm=norm,
        epsilons=sizes,
        target=target,
        parameters=parameters,
        corrupted_by=damage,
        severities=degrees,
        alarms=listened,
        surrogate=surrogate,
    )
    images = open_data(data, model, labels=labels).limited(limit)
    call = call_of(
        "attack",
        model,
        data,
        attacks=names,
        plan=plan,
        norm=norm,
        eps=sizes,
        target=target,
        limit=limit,
        labels=labels,
        corruptions=damage,
        severities=degrees if damage else None,
        parameters=parameters,
        examples=None if examples == EXAMPLES else examples,
        alarms=listened,
        surrogate=surrogate,
        seed=seed or None,
    )
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    return run_attack(model, images, planned, runtime=runtime, jobs=jobs, examples=examples, command=call)


def bounds(
    model: Model,
    data: Any,
    *,
    eps: str | float | Iterable[str | float] | None = None,
    norm: str | None = None,
    method: str | None = None,
    arithmetic: str | None = None,
    layer: str | None = None,
    limit: int | None = None,
    labels: str | Path | None = None,
    largest: bool = False,
    attack_plan: str | None = None,
    parameters: Parameters | None = None,
    sigma: float | None = None,
    draws: int | None = None,
    n0: int | None = None,
    alpha: float | None = None,
    examples: int = SHOWN,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Bound what a model's outputs, or a layer's, can become around every image of a data set, and try the bounds.

    Args:
        model: from `load`; it needs a graph.
        data: as for `attack`: a path, a pair of inputs (n, ...) and labels, a list of pictures, or one picture.
        eps: sizes of the change in input units, numbers or "8/255"; default 1, 2, 4 and 8/255 of the range for linf.
        norm: "linf", "l2" or "l1"; default linf, and for "smoothing" l2.
        method: name (see `xai methods`); default the one that is marked there. "smoothing" is another kind: statistics
            of the smoothed classifier, in l2, no bounds.
        arithmetic: "real" for the network in real numbers (default), "float" for the float32 network as torch's CPU
            kernels run it.
        layer: whose output is bounded; default the model's.
        limit: take only so many images.
        labels: file with a label each, for arrays that do not bring them.
        largest: whether each image's largest certified change is looked for, by bisection.
        attack_plan: a named plan, names of attacks separated by commas, or "none"; default the default attack.
        parameters: of the attacks, by name: {"pgd": {"steps": 100}}.
        sigma: for smoothing: standard deviation of the noise, in input units.
        draws: for smoothing: how many estimate; default 1000.
        n0: for smoothing: how many others select; default 100.
        alpha: for smoothing: the probability that what is said of an image is wrong; default .001.
        examples: how many images, the first ones, are looked at closer: how tight are the bounds?
        jobs: shards at once; default one a core. The answer does not depend on it.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run["bounds"].lower and .upper are (n, outputs) for one eps, (eps, n, outputs) for several,
        run["bounds"].winners names the answers that can win, run["bounds"].values has certified accuracy and accuracy
        under attack at each eps with their intervals; run.save(folder) writes report and evidence. Of smoothing it is
        run["smoothed"] that has a row an image in .rows.

    Raises:
        xai.errors.UsageError: a name or value does not exist or fit.
        xai.errors.RefusedFileError: no image could be read.
    """
    check_model(model)
    check_least(1, jobs=jobs, limit=limit)
    check_least(0, examples=examples, seed=seed)
    sizes = _sizes(eps)
    planned = plan_certifying(
        model,
        sizes,
        norm=norm,
        method=method,
        arithmetic=arithmetic,
        layer=layer,
        attack=attack_plan,
        parameters=parameters,
        largest=largest,
        sigma=sigma,
        draws=draws,
        n0=n0,
        alpha=alpha,
    )
    images = open_data(data, model, labels=labels).limited(limit)
    call = call_of(
        "bounds",
        model,
        data,
        eps=sizes,
        norm=norm,
        method=method,
        arithmetic=arithmetic,
        layer=layer,
        limit=limit,
        labels=labels,
        largest=largest or None,
        attack_plan=attack_plan,
        parameters=parameters,
        sigma=sigma,
        draws=draws,
        n0=n0,
        alpha=alpha,
        examples=None if examples == SHOWN else examples,
        seed=seed or None,
    )
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    return certify(images, planned, runtime=runtime, jobs=jobs, examples=examples, command=call)


def verify(
    model: Model,
    data: Any = None,
    *,
    eps: str | float | None = None,
    norm: str = "linf",
    properties: str | Path | None = None,
    timeout: float | None = None,
    arithmetic: str = "real",
    keep_proofs: bool = False,
    limit: int | None = None,
    labels: str | Path | None = None,
    examples: int = EXAMPLES,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Decide for every image whether its right answer stays the same within a size of the change, or properties.

    Args:
        model: from `load`; of one without a graph nothing can be proved, but attacks are tried.
        data: as for `attack`: a path, a pair of inputs (n, ...) and labels, a list of pictures, or one picture.
        eps: size of the change in input units, a number or "8/255".
        norm: "linf", "l2" or "l1".
        properties: a YAML file of properties, instead of data and eps.
        timeout: seconds for each image or property; default 60.
        arithmetic: "real" for the network in real numbers, "float" for the float32 network as torch's CPU kernels run
            it.
        keep_proofs: keep the proof of each image or property that holds, and have it checked by code that shares
            nothing with the search.
        limit: take only so many images.
        labels: file with a label each, for arrays that do not bring them.
        examples: how many of the counterexamples are looked at closer.
        jobs: images or properties at once; default one a core. What is decided does not depend on it; what is not
            decided in its time depends on the clock.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run["verification"].rows has a row an image with its "verdict" (None where it is wrong without a
        change), run["verification"].values the shares with their intervals; of properties run.findings has one for
        each, with its .verdict. run.save(folder) writes report and evidence.

    Raises:
        xai.errors.UsageError: a name or value does not exist or fit.
        xai.errors.RefusedFileError: no image could be read, or the properties do not fit the model.
    """
    check_model(model)
    check_least(1, jobs=jobs, limit=limit)
    check_least(0, examples=examples, seed=seed)
    if (data is None) == (properties is None):
        raise UsageError("expected data with eps, or properties; received both or neither")
    options: dict[str, object] = {"timeout": timeout, "arithmetic": None if arithmetic == "real" else arithmetic}
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    if properties is not None:
        if eps is not None:
            raise UsageError("eps was given, and properties say of which inputs they are; leave it out")
        deciding = plan_deciding(model, timeout=timeout, arithmetic=arithmetic, keep_proofs=keep_proofs)
        compiled = read_statements(Path(properties)).compiled(deciding.bounding)
        call = call_of(
            "verify", model, properties=properties, **options, keep_proofs=keep_proofs or None, seed=seed or None
        )
        return verify_properties(compiled, deciding, runtime=runtime, jobs=jobs, command=call)
    planned = plan_verify(model, eps, norm=norm, timeout=timeout, arithmetic=arithmetic, keep_proofs=keep_proofs)
    images = open_data(data, model, labels=labels).limited(limit)
    call = call_of(
        "verify",
        model,
        data,
        eps=eps,
        norm=None if norm == "linf" else norm,
        **options,
        keep_proofs=keep_proofs or None,
        limit=limit,
        labels=labels,
        examples=None if examples == EXAMPLES else examples,
        seed=seed or None,
    )
    return run_verify(images, planned, runtime=runtime, jobs=jobs, examples=examples, command=call)


def audit(
    config: str | Path | Mapping[str, Any],
    *,
    arch: str | None = None,
    device: str = "auto",
    seed: int = 0,
    trust_model: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Run:
    """Measure everything that a policy asks for, and decide its requirements.

    Args:
        config: the policy: a file's path, whose relative paths are taken from where it lies, or its fields as a dict,
            whose relative paths are taken from the current folder; `xai config schema` prints all fields.
        arch: for a file of weights, instead of the policy's; only here may it be "path/to/net.py:function".
        device: "auto", "cpu" or "cuda".
        seed: of everything random.
        trust_model: whether code in the model file (a whole pickle) may run; only for files that you trust.
        jobs: shards at once; default one a core. The answer does not depend on it.
        progress: called with (stage, done, total).

    Returns:
        The run: run.passed says whether all that must hold holds, run.requirements has the verdict of each with its
        numbers; run.save(folder) writes the report in all its renderings, and the evidence.

    Raises:
        xai.errors.UsageError: something that the policy names does not exist or fit.
        xai.errors.RefusedFileError: it is no policy; every fault is named with its place.
    """
    check_least(1, jobs=jobs)
    check_least(0, seed=seed)
    read = policy_of(dict(config)) if isinstance(config, Mapping) else read_policy(Path(config))
    model = open_model(read, device=resolve_device(device), seed=seed, trusted=trust_model, arch=arch)
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    shown = dict(config) if isinstance(config, Mapping) else config
    options = options_of({"arch": arch, "seed": seed or None, "trust_model": trust_model or None})
    call = f"xai.audit({written(shown)}{options})"
    return run_audit(model, read, open_roles(read, model), runtime=runtime, jobs=jobs, command=call)


def export(model: Model, path: str | Path, *, overwrite: bool = False) -> float:
    """Write a model as .onnx or .pt2 with a card beside it; see xai.models.writing.write.

    Args:
        model: from `load`; a black box has no graph to write.
        path: where to; the suffix says which format. The file takes input units, mean and std are inside.
        overwrite: whether files that are there are replaced.

    Returns:
        The largest difference of the file's outputs from the model's, as a share of the largest output.
    """
    return write(model, Path(path), overwrite=overwrite)


def inspect(
    model: Model,
    image: ImageLike | Iterable[ImageLike] | None = None,
    layer: str | None = None,
    target: str | int | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Look inside a model: what was understood of it, and what a layer's channels answer to a picture.

    Args:
        model: from `load`.
        image: as for `explain`; without one the run tells of the model alone.
        layer: whose channels are shown; default the last one with rows and columns.
        target: a class's name or index, whose output is differentiated; default the predicted one.
        seed: of everything random.
        progress: called with (stage, done, total).

    Returns:
        The run: run.record.model holds layers, blocks and costs, run["activation"].activation is (channels, rows,
        columns) float32, or (units,), and run["activation"].gradient likewise.

    Raises:
        xai.errors.UsageError: a name does not exist, or a layer or target was named without a picture.
        xai.errors.RefusedFileError: a picture is damaged.
    """
    if image is None and (layer is not None or target is not None):
        raise UsageError("a layer or a target was named, and no picture whose activations could be shown")
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    call = call_of("inspect", model, image, layer=layer, target=target, seed=seed or None)
    samples = () if image is None else read_samples(image, model)
    notes = () if image is None else left_out(image)
    return run_inspect(model, samples, layer=layer, target=target, runtime=runtime, command=call, notes=notes)


def _sizes(eps: Any) -> list[str | float] | None:
    """Return sizes of the change as a list; one number of any kind is one."""
    if eps is None:
        return None
    return [eps] if isinstance(eps, str) or not np.ndim(eps) else list(eps)


def train(
    model: Model,
    data: Any,
    *,
    objective: str = "standard",
    eps: str | float | None = None,
    norm: str = "linf",
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    patience: int | None = None,
    held: Any = None,
    layers: str | Iterable[str] | None = None,
    scratch: bool = False,
    attack_plan: str | None = None,
    labels: str | Path | None = None,
    limit: int | None = None,
    parameters: Parameters | None = None,
    jobs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train a copy of a model's network, and measure it beside its parent on images that were held out.

    Args:
        model: from `load`; it stays as it is.
        data: labelled images, as for `attack`.
        objective: "standard", "adversarial" (Madry et al. 2018), "trades" (Zhang et al. 2019) or "certified" (Gowal et
            al. 2018, Zhang et al. 2020).
        eps: size of the change that the network is to withstand, in input units: "8/255" or a number.
        norm: of the change: "linf", "l2" or "l1".
        epochs: how often every image is shown.
        batch: images that make a step.
        lr: highest learning rate of AdamW.
        patience: stop when nothing got better for so many epochs; default never.
        held: images that the outcome is measured on; default a fifth of the data, drawn by the seed.
        layers: that alone are trained; default all.
        scratch: whether the first weights are drawn anew.
        attack_plan: a named plan of attacks that measures the outcome; default two quick ones.
        labels: file with a label each, for arrays without.
        limit: take only so many images.
        parameters: of the objective, by its name: {"adversarial": {"steps": 10}}.
        jobs: shards of the measurement at once; default one a core.
        seed: of everything random.
        progress: called with (stage, done, total).
        epoch: called with the figures of every epoch that is done.

    Returns:
        .model, the trained Model; .network, its module; .run, the course of the training and the outcome; .comparison
        with the parent; .save(folder) writes all of it.

    Raises:
        xai.errors.UsageError: a name or value does not exist or fit; labels are missing, or all of one class.
        xai.errors.AnalysisError: the model is a black box, or the training diverges.
    """
    check_model(model)
    check_least(1, limit=limit, jobs=jobs)
    recipe = {"epochs": epochs, "batch": batch, "lr": lr, "patience": patience}
    alone = names_of(layers) or []
    if layers is not None and not alone:
        raise UsageError("layers: expected names of those that are trained, received none; leave it out to train all")
    plan = plan_train(
        model,
        objective,
        norm=norm,
        eps=eps,
        recipe=recipe,
        layers=alone,
        attack=attack_plan,
        scratch=scratch,
        parameters=parameters,
    )
    call = call_of(
        "train",
        model,
        data,
        objective=objective,
        eps=eps,
        norm=norm,
        **recipe,
        held=held,
        layers=alone or None,
        scratch=scratch or None,
        attack_plan=attack_plan,
        labels=labels,
        limit=limit,
        parameters=parameters,
        seed=seed or None,
    )
    return run_train(
        model,
        open_data(data, model, labels=labels).limited(limit),
        plan,
        held=None if held is None else open_data(held, model),
        runtime=Runtime(device=model.device, seed=seed, progress=progress or silent),
        jobs=jobs,
        tell=epoch or nobody,
        command=call,
    )


# Transfer: what a network has learnt, for another task.


def with_head(model: Model, classes: Sequence[str], *, seed: int = 0) -> Model:
    """Return a model whose last layer is a fresh one for other classes; all before it keeps its weights.

    Args:
        model: from `load`; a live network, or a file of weights with its architecture. It stays as it is.
        classes: two or more names, in the order of the new outputs.
        seed: of the fresh weights, which have learnt nothing.

    Raises:
        xai.errors.UsageError: the model has no modules, or its outputs do not come of one last layer alone.
    """
    check_model(model)
    check_least(0, seed=seed)
    call = call_of("with_head", model, list(classes), seed=seed or None)
    return replace(exchange_head(model, classes, seed=seed), call=call if model.call else "")


def features(
    model: Model,
    data: Any,
    *,
    layer: str | None = None,
    classes: Sequence[str] | None = None,
    labels: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what a layer of a network holds for every image of a data set: rows that any estimator can be fitted to.

    A layer with rows and columns, or with tokens, gives a number a channel: the mean over its places.

    Args:
        model: from `load`; it needs a graph.
        data: as for `attack`: a path, a pair of inputs (n, ...) and labels, a list of pictures, or one picture.
        layer: its name; default what the last linear layer reads, without one the last layer with rows and columns.
        classes: that the labels name, where they are not the model's.
        labels: file with a label each, for arrays that do not bring them.
        seed: of everything random, for a network that draws random numbers.
        progress: called with (stage, done, total).

    Returns:
        Features (n, d) float32; and labels (n,) int64, indices of the classes, -1 where one is not known, or None if
        none is. What cannot be read is left out of both, and logged.

    Raises:
        xai.errors.UsageError: there is no such layer, or a label is no class.
        xai.errors.NotApplicableError: the model is a black box.
        xai.errors.RefusedFileError: no image could be read.
    """
    check_model(model)
    check_least(0, seed=seed)
    images = open_data(data, model if classes is None else _naming(model, classes), labels=labels)
    runtime = Runtime(device=model.device, seed=seed, progress=progress or silent)
    return run_features(model, images, layer=layer, runtime=runtime)


def on_features(model: Model, estimator: Any, *, layer: str | None = None) -> OnFeatures:
    """Put an estimator on a network's features: `load` opens it as a black box, and needs nothing more to be told.

    Args:
        model: from `load`; it needs a graph.
        estimator: a classifier in the manner of scikit-learn, fitted to what `features` gave for that layer. Its
            predict_proba is taken, of one without it decision_function. The classes are called as its classes_ are:
            fit it to names, or give names to `load` (classes=...).
        layer: as for `features`.

    Raises:
        xai.errors.UsageError: there is no such layer, or the estimator does not fit its features.
        xai.errors.NotApplicableError: the model is a black box.
    """
    check_model(model)
    return OnFeatures(model, estimator, layer)


def _naming(model: Model, classes: Sequence[str]) -> Model:
    """Return a model whose answers have other names, for labels that are not its own."""
    return replace(model, card=model.card.model_copy(update={"classes": class_names(classes)}))
