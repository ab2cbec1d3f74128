"""Out-of-distribution detection on two published networks: every detector, their combination, coverage, and time.

Needs XAI_DATA. LeNet5 knows MNIST; ResNet-20 knows CIFAR-10. Their training images are not at hand, so detectors are
fitted, calibrated and tried on three parts of other images: of MNIST's test set, and of the 200 raw and 492 JPEG test
images of CIFAR-10, mixed (JPEG costs 10 points of accuracy, and eight of them are among the raw ones). All is repeated
over seeded parts, and AUROC in per cent is the mean. The combination's threshold and members come of no outlier, in
"combined"; in "chosen on the other sets" its members come of all sets but the one that is judged.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.stats import binom
from torch import nn
from torch.nn import functional as F

from benchmarks._published import CIFAR, CLEAN, Subject, subject
from xai.models.torchvision_import import torchvision_models
from xai.robustness.ood.calibration import at_keep_rate, kept_of
from xai.robustness.ood.combination import Scores, choose, combination
from xai.robustness.ood.detectors.base import Evidence, detectors
from xai.robustness.ood.features import Reader, content_keys
from xai.robustness.ood.fitting import Batch, FittedSet, fit
from xai.robustness.ood.guard import COMBINED, calibrate, parted
from xai.robustness.ood.metrics import auroc
from xai.robustness.ood.probes import PROBES, make_probe
from xai.runtime import Runtime

SPLITS = 200  # of the coverage
ENOUGH = 200  # images of a set that members are chosen on


@dataclass(frozen=True)
class Parts:
    """In-distribution images in three parts."""

    fit: torch.Tensor
    labels: torch.Tensor
    held: torch.Tensor
    new: torch.Tensor


def measure(device: str) -> dict[str, Any]:
    if "XAI_DATA" not in os.environ:
        return {"reason": "XAI_DATA is not set"}
    folder = Path(os.environ["XAI_DATA"]) / "vision"
    digits, pictures = subject(CLEAN, device), subject(CIFAR, device)
    letters = _letters(folder)
    mnist = {"notMNIST": letters[:1000], "Fashion-MNIST": _fashion(folder)}
    cifar = {"MNIST": _as_cifar(digits.x[:500]), "notMNIST": _as_cifar(letters[:500]), "ImageNet crops": _crops(folder)}
    photos = _photos(folder, pictures)
    return {
        "LeNet5, MNIST": _table(digits, (digits.x, digits.y), (5000, 2000, 1000), mnist, range(3)),
        "ResNet-20, CIFAR-10": _table(pictures, photos, (400, 150, 142), cifar, range(10)),
        "coverage": _coverage(digits),
        "time": {"LeNet5": _times(digits, 8000), "ResNet-20": _times(pictures, 1600)},
    }


def _table(
    known: Subject,
    images: tuple[torch.Tensor, torch.Tensor],
    sizes: tuple[int, ...],
    sets: dict[str, Any],
    seeds: range,
) -> dict[str, Any]:
    """Return the AUROC of every detector and of the combinations, by set, over some seeded parts."""
    rounds = [_round(known, _parted(images, sizes, seed), sets) for seed in seeds]
    by_method = {name: {s: [one[name][s] for one in rounds] for s in rounds[0][name]} for name in rounds[0]}
    means = {name: {s: float(np.mean(values)) for s, values in row.items()} for name, row in by_method.items()}
    single = [means[name] for name in detectors.all()]
    best = {"worst": max(min(row.values()) for row in single), "mean": max(map(_mean, single))}
    table = {
        name: {**{s: round(v, 1) for s, v in row.items()}, "worst": round(min(row.values()), 1), "mean": _mean(row)}
        for name, row in means.items()
    }
    return {
        "images": dict(zip(("fitted", "held back", "new"), sizes, strict=True)),
        "repeated": len(seeds),
        "best of any single detector": {name: round(value, 2) for name, value in best.items()},
        "combined less that": {
            name: {"worst": round(min(row.values()) - best["worst"], 2), "mean": round(_mean(row) - best["mean"], 2)}
            for name, row in means.items()
            if name not in detectors.all()
        },
        "AUROC": table,
    }


def _mean(row: Mapping[str, float]) -> float:
    return round(sum(row.values()) / len(row), 2)


def _round(known: Subject, parts: Parts, sets: Mapping[str, torch.Tensor]) -> dict[str, dict[str, float]]:
    """Return the AUROC of every detector and combination on every set."""
    model = known.model
    fitted = fit(Reader(model), [Batch(parts.fit, parts.labels)], [kind() for kind in detectors.all().values()])
    keys = content_keys(parts.held)
    held = fitted.scores(model, parts.held)
    guard = calibrate(fitted, held, keys)
    inside = guard.joined(fitted.scores(model, parts.new))
    names = [str(number) for number in content_keys(parts.new[:500]).tolist()]
    probes = {name: make_probe(name, parts.new[:500], model.input, Runtime(), names) for name in PROBES}
    outside = {name: guard.joined(fitted.scores(model, x)) for name, x in {**sets, **probes}.items()}
    methods = (*fitted.fitted, COMBINED)
    found = {name: {s: 100 * auroc(inside[name], one[name]) for s, one in outside.items()} for name in methods}
    reference = {name: values[parted(keys)[0]] for name, values in held.items()}
    return {**found, "chosen on the other sets": _left_out(reference, inside, outside)}


def _left_out(reference: Scores, inside: Scores, outside: Mapping[str, Scores]) -> dict[str, float]:
    """Return for every set the AUROC of the combination that the other sets chose."""
    few = {s: {name: one[name][:ENOUGH] for name in reference} for s, one in outside.items()}
    known = {name: values[:ENOUGH] for name, values in reference.items()}
    found = {}
    for name, scores in outside.items():
        members = choose(known, {other: one for other, one in few.items() if other != name})
        made = combination(reference, members)
        found[name] = 100 * auroc(made.score(inside), made.score(scores))
    return found


def _coverage(known: Subject) -> dict[str, Any]:
    """Return how often what a threshold keeps of new images lies in its stated interval, over seeded splits."""
    model = known.model
    fitted = fit(Reader(model), [Batch(known.x[:4000], known.y[:4000])], [kind() for kind in detectors.all().values()])
    scores = fitted.scores(model, known.x[4000:])
    made = combination({name: values[:1000] for name, values in scores.items()})
    scores["combined"] = made.score(scores)
    count, low, high = 256, *kept_of(256, 0.95, 256)
    hits = dict.fromkeys(scores, 0)
    for seed in range(SPLITS):
        rows = 1000 + torch.randperm(5000, generator=torch.Generator().manual_seed(seed))
        for name, values in scores.items():
            threshold = at_keep_rate(values[rows[:count]], 0.95)
            hits[name] += low <= int(threshold.inside(values[rows[count : 2 * count]]).sum()) <= high
    chances = [float(binom(SPLITS, 0.95).cdf(found)) for found in hits.values()]
    return {
        "splits": SPLITS,
        "p-value of the largest shortfall, of all of them": round(min(1.0, len(chances) * min(chances)), 3),
        "held back": count,
        "of as many new ones 95 % of the splits keep": [low, high],
        "share of splits that do": {name: found / SPLITS for name, found in hits.items()},
    }


def _times(known: Subject, count: int) -> dict[str, Any]:
    """Return seconds of the processor: forward passes, all feature detectors together, and pytorch-ood's in turn."""
    x = known.x.repeat(-(-count // len(known.x)), 1, 1, 1)[:count] + 0
    y = known.y.repeat(-(-count // len(known.y)))[:count]
    kinds = [kind() for kind in detectors.all().values() if kind.evidence in (Evidence.FEATURES, Evidence.SHAPING)]
    keys = torch.arange(count)
    reader = Reader(known.model)
    made: list[FittedSet] = []

    def forwards() -> None:
        with torch.no_grad():
            for part in x.split(128):
                known.model(part)

    def fitting() -> None:
        made.append(fit(reader, [Batch(x, y, keys)], kinds))

    forwards()
    fitting()
    passes, fits, scores = _least(forwards, fitting, lambda: made[0].scores(known.model, x))
    theirs = _theirs(known, x, y)
    return {
        "images": count,
        "detectors": len(kinds),
        "forward passes": round(passes, 2),
        "fitted together": round(fits, 2),
        "fitted, in forward passes": round(fits / passes, 2),
        "scored together": round(scores, 2),
        "scored, in forward passes": round(scores / passes, 2),
        **theirs,
    }


def _least(*works: Callable[[], object], rounds: int = 7) -> list[float]:
    """Return the least seconds of the processor that each work took, of rounds in which all take their turn."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, seconds in zip(works, taken, strict=True):
            begun = time.process_time()
            work()
            seconds.append(time.process_time() - begun)
    return [min(seconds) for seconds in taken]


def _theirs(known: Subject, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """Return seconds of the same detectors of pytorch-ood, one after the other; HBOS and KDE it has not."""
    torchvision_models()  # it imports torchvision, which may need its cure first
    try:
        from pytorch_ood import detector as peers
    except ImportError:
        return {"pytorch-ood": "is not installed"}
    network = known.network
    head = network.linear if hasattr(network, "linear") else network.linear2
    encode, layers, rest = _cut(network)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=128)

    def shaped(maps: torch.Tensor) -> torch.Tensor:
        return head(maps.flatten(1))

    def backbone(images: torch.Tensor) -> torch.Tensor:
        return encode(images)[:, :, None, None]

    weight, bias, width = head.weight.detach(), head.bias.detach(), head.in_features
    made = [
        peers.Mahalanobis(encode),
        peers.RMD(encode),
        peers.KNN(encode, k=10),
        peers.ViM(encode, width // 2, weight, bias),
        peers.fDBD(encode, head),
        peers.DICE(encode, weight, bias, p=0.9),
        peers.ReAct(backbone, shaped),
        peers.ASH(backbone, shaped),
        peers.SCALE(backbone, shaped),
        peers.Gram(rest, layers, 10, num_poles_list=[1, 2, 3]),
    ]
    begun = time.process_time()
    with torch.no_grad():
        for one in made:
            one.to("cpu")
            one.fit(data)
        fitted = time.process_time() - begun
        for one in made:
            for part in x.split(128):
                one.predict(part)
    seconds = {"fitted": fitted, "scored": time.process_time() - begun - fitted}
    return {
        "pytorch-ood, one after the other": {"detectors": len(made), **{k: round(v, 2) for k, v in seconds.items()}}
    }


class _Then(nn.Module):
    """A part of a network."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(x)


def _cut(net: Any) -> tuple[Callable[[torch.Tensor], torch.Tensor], list[nn.Module], nn.Module]:
    """Return what gives the features, the layers before them, and what follows these layers."""
    if hasattr(net, "linear2"):
        parts = [
            lambda x: net.conv1(x).relu(),
            lambda x: net.conv2(torch.max_pool2d(x, 2)).relu(),
            lambda x: torch.max_pool2d(x, 2),
        ]
        last = lambda x: net.linear1(x.flatten(1)).relu()  # noqa: E731  # beside the others
        head = net.linear2
    else:
        parts = [lambda x: net.layer1(net.bn1(net.conv1((x - net.mean) / net.std)).relu()), net.layer2, net.layer3]
        last = lambda x: x.mean((2, 3))  # noqa: E731  # as above
        head = net.linear
    first, second, third = parts
    return (
        lambda x: last(third(second(first(x)))),
        [_Then(part) for part in parts],
        _Then(lambda x: head(last(x))),
    )


def _parted(images: tuple[torch.Tensor, torch.Tensor], sizes: tuple[int, ...], seed: int) -> Parts:
    """Return three seeded parts of some images."""
    order = torch.randperm(len(images[0]), generator=torch.Generator().manual_seed(seed))[: sum(sizes)]
    first, second, third = order.split(list(sizes))
    return Parts(images[0][first], images[1][first], images[0][second], images[0][third])


def _photos(folder: Path, raw: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the raw test images of CIFAR-10 and those in JPEG that are not among them."""
    files = sorted((folder / "cifar10" / "jpg_test").glob("*/*.jpg"))
    classes = sorted({file.parent.name for file in files})
    x = torch.stack([_read(file) for file in files])
    y = torch.tensor([classes.index(file.parent.name) for file in files])
    other = torch.cdist(x.flatten(1), raw.x.flatten(1)).min(1).values > 3
    return torch.cat((raw.x, x[other])), torch.cat((raw.y, y[other]))


def _read(file: Path) -> torch.Tensor:
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _letters(folder: Path) -> torch.Tensor:
    content = gzip.decompress((folder / "ood_notmnist" / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / 255)


def _fashion(folder: Path) -> torch.Tensor:
    """Return the 900 tiles of the sprite."""
    with Image.open(folder / "fashion" / "fashion-mnist-sprite.png") as sprite:
        pixels = np.asarray(sprite.convert("L"), dtype=np.float32) / 255
    tiles = pixels.reshape(30, 28, 30, 28).transpose(0, 2, 1, 3).reshape(-1, 1, 28, 28)
    return torch.from_numpy(np.ascontiguousarray(tiles))


def _as_cifar(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=32, mode="bilinear", align_corners=False).expand(-1, 3, -1, -1).contiguous()


def _crops(folder: Path) -> torch.Tensor:
    """Return four squares of each photograph, made small: the middle whole, and three quarters."""
    found = []
    for file in sorted((folder / "imagenet_samples").iterdir()):
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        (width, height), side = picture.size, min(picture.size)
        left, top, half = (width - side) // 2, (height - side) // 2, side // 2
        corners = [(left, top, side), (0, 0, half), (width - half, height - half, half)]
        corners.append(((width - half) // 2, (height - half) // 2, half))
        for x, y, size in corners:
            small = picture.crop((x, y, x + size, y + size)).resize((32, 32), Image.Resampling.BICUBIC)
            found.append(np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255)
    return torch.from_numpy(np.stack(found))
