"""xai: what a trained network looks at, what breaks it, what is proved about it.

    import xai

    model = xai.load("model.pt", arch="torchvision:resnet18")
    run = xai.explain(model, "image.png")
    run["gradcam"].map          # (height, width) float32
    run["gradcam"].show()       # a matplotlib figure
    run.save("my-run")          # report.html, record.json, artefacts/
    xai.ood.fit(model, "data/") # detectors of what the model was never made for

The names are loaded when they are first used, so that `import xai` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xai.version import __version__

if TYPE_CHECKING:
    from xai import ood
    from xai.api import (
        attack,
        audit,
        bounds,
        explain,
        export,
        features,
        inspect,
        load,
        on_features,
        train,
        verify,
        with_head,
    )
    from xai.errors import XaiError

_VERBS = ("load", "attack", "audit", "bounds", "explain", "export", "inspect", "train", "verify")
_TRANSFER = ("features", "on_features", "with_head")
_HOMES = dict.fromkeys((*_VERBS, *_TRANSFER), "xai.api") | {"XaiError": "xai.errors"}

__all__ = [
    "XaiError",
    "__version__",
    "attack",
    "audit",
    "bounds",
    "explain",
    "export",
    "features",
    "inspect",
    "load",
    "on_features",
    "ood",
    "train",
    "verify",
    "with_head",
]


def __getattr__(name: str) -> Any:
    if name == "ood":
        return importlib.import_module("xai.ood")
    if name not in _HOMES:
        raise AttributeError(f"module 'xai' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
