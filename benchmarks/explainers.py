"""Grad-CAM, occlusion and LIME at 224 px, each beside the packages that people use for it.

Networks: ResNet-18, VGG-16 (LIME in one round, since it takes minutes) and ViT-tiny, with random weights. The works of
one method take turns, so that a slow minute hits all of them; a ratio is the median of the rounds' own ratios. Beside
ours and the peers stand the bare passes through the plain network that the method cannot do without. What ours spends
outside the network's passes, counted within the same call, is its own share: the limit is 3 %. Ours may take less than
the bare passes, since occlusion computes only what a window can change. Ours and the peers have to give the same map.
Peak memory is that of a fresh process that does one work once. How many samples LIME needs is counted against many
more: ours draws pairs.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F

import xai
from xai.models.accelerated import accelerated
from xai.models.incremental import Incremental
from xai.models.model import Model
from xai.models.torchvision_import import torchvision_models
from xai.runtime import Runtime

OWN_SHARE_LIMIT = 0.03
AGREE = 1e-4
ROUNDS = {"gradcam": 20, "occlusion": 3, "lime": 2, "graph": 160}
REFERENCE, FEWER, REPEATS = 20_000, 334, 5  # samples, and how often the errors are drawn
CAPTUM_BATCHES, LIME_BATCHES = (1, 8, 32), (10, 32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WINDOW, STRIDE, FILL = 32, 16, 0.5
WINDOWS, SAMPLES, FEW_SAMPLES, TARGET = 169, 1000, 128, 3


class Clock:
    """Adds up the seconds spent inside functions.

    Args:
        device: whose queued work is waited for.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self._within = False

    def now(self) -> float:
        """Return the seconds by now, all queued work done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted; what it calls of that kind counts once."""

        def counted(*arguments: Any, **named: Any) -> Any:
            if self._within:
                return function(*arguments, **named)
            self._within, begun = True, self.now()
            try:
                return function(*arguments, **named)
            finally:
                self._within = False
                self.seconds += self.now() - begun

        return counted


class Case:
    """One network with random weights and one picture of random colours: in pixels, and as the plain network takes it.

    Args:
        name: of the network.
        device: "cpu" or "cuda".
        batch: pictures in one forward pass of ours and of the bare passes.
        peer_batch: pictures in one forward pass of a peer.
    """

    def __init__(self, name: str, device: str, batch: int = 1, peer_batch: int = 1) -> None:
        torch.manual_seed(0)
        torch.backends.cudnn.allow_tf32 = False  # maps are compared, and batches differ in their rounding
        self.name, self.device, self.batch, self.peer_batch = name, device, batch, peer_batch
        self.samples = SAMPLES
        self.clock = Clock(device)
        self.network = NETWORKS[name]().eval().to(device)
        self.mean, self.std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
        self.x = F.interpolate(torch.rand(1, 3, 14, 14), scale_factor=16, mode="bilinear")[0]
        self.pixels = self.x[None].to(device)

    @cached_property
    def model(self) -> Any:
        """The network as we open it."""
        return xai.load(self.network, shape=(3, 224, 224), mean=MEAN, std=STD, device=self.device)

    @cached_property
    def accelerated(self) -> Any:
        """The same with another engine where no gradient is needed."""
        return accelerated(self.model, "openvino")

    @property
    def layer(self) -> torch.nn.Module:
        """The layer that ours looks at, in the plain network."""
        return self.network.get_submodule(self.model.spatial_layer.name)

    def plain(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the plain network's outputs of pixels (batch, channels, height, width) in [0, 1]."""
        return self.network((pixels - self.mean) / self.std)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count what passes through the network."""
        around = self.clock.around
        with contextlib.ExitStack() as stack:
            for owner, name in COUNTED:
                stack.enter_context(mock.patch.object(owner, name, around(getattr(owner, name))))
            yield


def vit_tiny() -> torch.nn.Module:
    """Return timm's ViT-tiny; torchvision, which timm imports, may need its cure first."""
    torchvision_models()
    import timm

    return timm.create_model("vit_tiny_patch16_224")


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "ResNet-18": lambda: torchvision_models().resnet18(weights=None),
    "VGG-16": lambda: torchvision_models().vgg16(weights=None),
    "ViT-tiny": vit_tiny,
}
COUNTED = (
    (Model, "__call__"),
    (Model, "outputs"),
    (Model, "tap"),
    (Incremental, "__init__"),
    (Incremental, "__call__"),
    (Incremental, "bytes_per_copy"),
    (torch.autograd, "grad"),
)


def explained(case: Case, method: str, model: Any = None, **parameters: Any) -> Any:
    run = xai.explain(
        model or case.model, case.x, methods=method, measures="none", target=TARGET, parameters={method: parameters}
    )
    return run[method]


def gradcam(case: Case) -> np.ndarray:
    return explained(case, "gradcam").map


def gradcam_checked(case: Case) -> np.ndarray:
    from xai.explainers.gradcam import GradCAM

    runtime = Runtime(device=case.model.device)
    return GradCAM().explain(case.model, case.x, [case.model.target(TARGET)], runtime, "")[0].arrays["map"]


def gradcam_formula(case: Case) -> np.ndarray:
    from xai.explainers.gradcam import GradCAM

    found = GradCAM().attribute(case.model, case.pixels[0], [case.model.target(TARGET)], Runtime())
    return found[0].map.cpu().numpy()


def gradcam_package(case: Case) -> np.ndarray:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(case.network, [case.layer], reshape_transform=reshape(case)) as reference:
        return reference((case.pixels - case.mean) / case.std, [ClassifierOutputTarget(TARGET)])[0]


def gradcam_captum(case: Case) -> np.ndarray:
    from captum.attr import LayerAttribution, LayerGradCam

    normalised = (case.pixels - case.mean) / case.std
    coarse = LayerGradCam(case.network, case.layer).attribute(normalised, TARGET, relu_attributions=True)
    return LayerAttribution.interpolate(coarse, (224, 224), "bilinear")[0, 0].detach().cpu().numpy()


def reshape(case: Case) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return how tokens become a grid, for the package."""
    if case.name != "ViT-tiny":
        return None
    return lambda tokens: tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 14, 14)


def gradcam_passes(case: Case) -> None:
    """Run forward once, and backward as far as the layer."""
    kept: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, given: Any, value: torch.Tensor) -> torch.Tensor:  # noqa: ARG001  # a hook's form
        kept.append(value.detach().requires_grad_())
        return kept[0]

    parameters = [one for one in case.network.parameters() if one.requires_grad]
    hook = case.layer.register_forward_hook(keep)
    try:
        for one in parameters:
            one.requires_grad_(False)
        torch.autograd.grad(case.plain(case.pixels)[0, TARGET], kept[0])
    finally:
        hook.remove()
        for one in parameters:
            one.requires_grad_(True)


def gradcam_call_passes(case: Case) -> None:
    """Run what a whole call needs: a forward pass more, for the prediction."""
    forwards(case, [1])
    gradcam_passes(case)


def occlusion(case: Case) -> np.ndarray:
    found = explained(case, "occlusion", window=WINDOW, stride=STRIDE, fill=FILL)
    assert found.record.values["windows"].value == WINDOWS
    return found.map


def occlusion_captum(case: Case) -> np.ndarray:
    from captum.attr import Occlusion

    with torch.no_grad():
        found = Occlusion(case.plain).attribute(
            case.pixels,
            sliding_window_shapes=(3, WINDOW, WINDOW),
            strides=(3, STRIDE, STRIDE),
            baselines=FILL,
            target=TARGET,
            perturbations_per_eval=case.peer_batch,
        )
    return found[0, 0].cpu().numpy()


def occlusion_passes(case: Case) -> None:
    """Run one forward for the prediction, one for the whole picture, and one a window."""
    forwards(case, [1, 1, *batches(WINDOWS, case.batch)])


def lime(case: Case) -> Any:
    return explained(case, "lime", segmentation="quickshift", samples=case.samples)


def as_lime(samples: int) -> dict[str, Any]:
    """Return what draws and fits as lime does: its penalty is 1, however many samples there are."""
    return {"paired": False, "alpha": 1000 / samples}


def lime_slic(case: Case) -> Any:
    return explained(case, "lime", samples=case.samples)


def lime_openvino(case: Case) -> Any:
    return explained(case, "lime", case.accelerated, segmentation="quickshift", samples=case.samples)


def lime_package(case: Case) -> Any:
    from lime.lime_image import LimeImageExplainer

    def classify(pictures: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(pictures).to(case.device, torch.float32).permute(0, 3, 1, 2)
        with torch.no_grad():
            return case.plain(pixels.contiguous()).cpu().numpy()

    with contextlib.redirect_stderr(io.StringIO()):  # it draws a bar
        return LimeImageExplainer(random_state=0).explain_instance(
            case.x.permute(1, 2, 0).double().numpy(),
            classify,
            labels=(TARGET,),
            top_labels=None,
            num_samples=case.samples,
            batch_size=case.peer_batch,
            random_seed=42,
        )


def lime_passes(case: Case) -> None:
    """Run one forward for the prediction, and one a sample."""
    forwards(case, [1, *batches(SAMPLES, case.batch)])


def forwards(case: Case, sizes: Iterable[int]) -> None:
    with torch.no_grad():
        for size in sizes:
            case.plain(case.pixels.expand(size, -1, -1, -1))


def batches(count: int, size: int) -> list[int]:
    return [min(size, count - done) for done in range(0, count, size)]


Work = Callable[[Case], Any]
Taken = dict[str, list[tuple[float, float]]]  # of each work, a round's seconds and those inside the network
PASSES = "passes alone"
WORKS: dict[str, dict[str, Work]] = {
    "gradcam": {
        "ours": gradcam,
        "ours, explainer alone": gradcam_checked,
        "ours, formula alone": gradcam_formula,
        "grad-cam": gradcam_package,
        "captum": gradcam_captum,
        PASSES: gradcam_passes,
        f"{PASSES}, whole call": gradcam_call_passes,
    },
    "occlusion": {"ours": occlusion, "captum": occlusion_captum, PASSES: occlusion_passes},
    "lime": {
        "ours": lime,
        "ours, slic": lime_slic,
        "ours, OpenVINO": lime_openvino,
        "lime": lime_package,
        PASSES: lime_passes,
    },
}
IN_FRESH_PROCESSES = {
    "gradcam": ("ours", "grad-cam", "captum", PASSES),
    "occlusion": ("ours", "captum", PASSES),
    "lime": ("ours", "ours, OpenVINO", "lime", PASSES),
}
DEAR = ("VGG-16",)  # networks of which a LIME takes minutes


def measure(device: str) -> dict[str, Any]:
    return {name: _measured(Case(name, device)) for name in NETWORKS}


def _measured(case: Case) -> dict[str, Any]:
    load = _seconds(case, lambda case: case.model)
    first = _seconds(case, gradcam)
    case.batch = Runtime(device=case.model.device).batch(case.model.bytes_per_input)
    found = {
        "load_seconds": round(load, 2),
        "first_gradcam_seconds": round(first, 3),
        "graph_over_module": _graph_over_module(case),
        "gradcam": _gradcam(case),
        "occlusion": _occlusion(case),
    }
    print(case.name, found, flush=True)
    return {**found, "lime": _lime(case)}


def _gradcam(case: Case) -> dict[str, Any]:
    works = {name: work for name, work in WORKS["gradcam"].items() if name != "captum" or reshape(case) is None}
    taken, found = _rounds(case, "gradcam", works)
    maps = {name: answer for name, answer in found.items() if answer is not None}
    return {
        "largest_difference": {name: _difference(found["ours"], other) for name, other in maps.items()},
        **_figures(taken, {"ours": f"{PASSES}, whole call"}),
        "peak_memory_mib": _peaks("gradcam", case),
    }


def _occlusion(case: Case) -> dict[str, Any]:
    case.peer_batch, tried = _fastest(case, occlusion_captum, CAPTUM_BATCHES)
    first = _seconds(case, occlusion)
    taken, found = _rounds(case, "occlusion")
    return {
        "windows": WINDOWS,
        "batch": case.batch,
        "captum_seconds_by_batch": tried,
        "captum_batch": case.peer_batch,
        "first_seconds": round(first, 3),
        "largest_difference": _difference(found["ours"], found["captum"]),
        **_figures(taken),
        "peak_memory_mib": _peaks("occlusion", case),
    }


def _lime(case: Case) -> dict[str, Any]:
    _ = case.accelerated  # made before anything is timed
    case.samples = FEW_SAMPLES
    case.peer_batch, tried = _fastest(case, lime_package, LIME_BATCHES)
    case.samples = SAMPLES
    is_dear = case.name in DEAR
    works = {name: work for name, work in WORKS["lime"].items() if not is_dear or name != "ours, slic"}
    taken, found = _rounds(case, "lime", works, 1 if is_dear else None)
    ours, theirs = found["ours"], found["lime"]
    assert np.array_equal(ours.run.array(ours.record, "segment labels"), theirs.segments)
    coefficients = dict(theirs.local_exp[TARGET])
    expected = np.array([coefficients[number] for number in range(len(coefficients))])[theirs.segments]
    return {
        "samples": SAMPLES,
        "batch": case.batch,
        f"lime_seconds_by_batch_at_{FEW_SAMPLES}_samples": tried,
        "lime_batch": case.peer_batch,
        "segments": {name: found[name].record.values["segments"].value for name in works if name.startswith("ours")},
        "R2": {
            **{name: round(found[name].record.values["R2"].value, 4) for name in works if name.startswith("ours")},
            "lime": round(float(theirs.score), 4),
        },
        "correlation_of_maps": round(float(np.corrcoef(ours.map.ravel(), expected.ravel())[0, 1]), 4),
        **_figures(taken),
        "peak_memory_mib": _peaks("lime", case),
        **({} if is_dear else {"error": _lime_error(case)}),
    }


def _lime_error(case: Case) -> dict[str, Any]:
    """Return the mean error of the coefficients beside those of many samples, as a share of their norm."""

    def coefficients(samples: int, seed: int, **parameters: Any) -> np.ndarray:
        given = {"segmentation": "quickshift", "samples": samples, **parameters}
        run = xai.explain(
            case.accelerated,
            case.x,
            methods="lime",
            measures="none",
            target=TARGET,
            seed=seed,
            parameters={"lime": given},
        )
        labels = run.array(run["lime"].record, "segment labels")
        return np.array([run["lime"].map[labels == number][0] for number in range(labels.max() + 1)])

    reference = coefficients(REFERENCE, 99, **as_lime(REFERENCE))
    found = {}
    for name, samples, parameters in (
        ("as lime draws and fits", SAMPLES, as_lime(SAMPLES)),
        ("the same, a third", FEWER, as_lime(FEWER)),
        ("ours, a third", FEWER, {}),
        ("ours, half", SAMPLES // 2, {}),
    ):
        drawn = [coefficients(samples, seed, **parameters) for seed in range(REPEATS)]
        errors = [np.linalg.norm(one - reference) / np.linalg.norm(reference) for one in drawn]
        found[name] = {"samples": samples, "error": round(float(np.mean(errors)), 4)}
    return {"reference_samples": REFERENCE, "repeats": REPEATS, **found}


def _rounds(
    case: Case, method: str, works: dict[str, Work] | None = None, rounds: int | None = None
) -> tuple[Taken, dict[str, Any]]:
    """Let the works take turns; return what they took, and what each answered last."""
    taken: Taken = defaultdict(list)
    answers = {}
    with case.counting():
        for _ in range(rounds or ROUNDS[method]):
            for name, work in (works or WORKS[method]).items():
                case.clock.seconds, begun = 0.0, case.clock.now()
                answers[name] = work(case)
                taken[name].append((case.clock.now() - begun, case.clock.seconds))
    return taken, answers


def _figures(taken: Taken, passes: dict[str, str] | None = None) -> dict[str, Any]:
    """Return seconds, ratios and own shares; `passes` names the bare passes of ours where they are not the usual."""
    seconds = {name: np.array([whole for whole, _ in rounds]) for name, rounds in taken.items()}
    ours = [name for name in taken if name.startswith("ours")]
    bare = {name: seconds[(passes or {}).get(name, PASSES)] for name in ours}
    peers = [name for name in taken if not name.startswith(("ours", PASSES))]
    return {
        "seconds": {
            name: {"median": round(median(times), 4), "min": round(min(times), 4)} for name, times in seconds.items()
        },
        "ours_over_peer": {name: {peer: _ratio(seconds[name], seconds[peer]) for peer in peers} for name in ours},
        "own_seconds": {name: round(median(whole - inside for whole, inside in taken[name]), 4) for name in ours},
        "own_share": {name: round(median(1 - inside / whole for whole, inside in taken[name]), 4) for name in ours},
        "own_share_limit": OWN_SHARE_LIMIT,
        "share_beyond_passes_alone": {
            name: round(median((seconds[name] - bare[name]) / seconds[name]), 4) for name in ours
        },
    }


def _ratio(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    return {"median": round(float(median(ours / theirs)), 3), "of_minima": round(float(ours.min() / theirs.min()), 3)}


def _graph_over_module(case: Case) -> dict[str, Any]:
    """Compare a forward pass of the graph that we run with one of the plain module, both in input units."""
    figures = {}
    for size in (1, case.batch):
        pixels = case.pixels.repeat(size, 1, 1, 1)
        graph, module = partial(_pass, case.model, pixels), partial(_pass, case.plain, pixels)
        pairs = [(_seconds(case, graph), _seconds(case, module)) for _ in range(ROUNDS["graph"] // size)]
        ours, theirs = np.array(pairs).T
        figures[f"batch {size}"] = {**_ratio(ours, theirs), "module_seconds": round(median(theirs), 4)}
    return figures


def _pass(network: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, _: Case) -> None:
    with torch.no_grad():
        network(pixels)


def _fastest(case: Case, work: Work, sizes: Iterable[int]) -> tuple[int, dict[int, float]]:
    """Return the batch at which a peer is fastest, and its seconds at each."""
    tried: dict[int, float] = {}
    for size in sizes:
        case.peer_batch = size
        tried[size] = min(tried.get(size, np.inf), round(_seconds(case, work), 3))
    return min(tried, key=lambda size: tried[size]), tried


def _seconds(case: Case, work: Work) -> float:
    begun = case.clock.now()
    work(case)
    return case.clock.now() - begun


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference of two maps that are each stretched to [0, 1]; it has to be small."""
    one, other = ((raw - raw.min()) / (raw.max() - raw.min()) for raw in (ours, theirs))
    largest = float(np.abs(one - other).max())
    assert largest <= AGREE, largest
    return float(f"{largest:.1e}")


def _peaks(method: str, case: Case) -> dict[str, int]:
    """Return the peak memory in MiB of a fresh process for each work."""
    peaks = {}
    for name in IN_FRESH_PROCESSES[method]:
        if name == "captum" and method == "gradcam" and reshape(case) is not None:
            continue
        what = (method, name, case.name, case.device, case.batch, case.peer_batch)
        call = f"from benchmarks import explainers; explainers.peak{what}"
        done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
        peaks[name] = int(done.stdout)
    return peaks


def peak(method: str, name: str, network: str, device: str, batch: int, peer_batch: int) -> None:
    """Do one work and print this process's peak memory in MiB: of the GPU if it runs there."""
    WORKS[method][name](Case(network, device, batch, peer_batch))
    print(torch.cuda.max_memory_allocated() >> 20 if device == "cuda" else _high_water_mark() >> 10)


def _high_water_mark() -> int:
    """Return the most KiB of memory this process has held; getrusage would begin at what its parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
