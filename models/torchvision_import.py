"""The one place that cures the import of torchvision.

torchvision's published wheel beside a CPU build of torch fails with "operator torchvision::nms does not exist": it
registers meta kernels for two compiled operators that are not there. Their schemas are all it needs. They are declared
only after an import failed with that message, since on a healthy install a second definition raises.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import torch

T = TypeVar("T")

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: list[torch.library.Library] = []  # torch forgets the operators when this object goes


def curing_torchvision(imports: Callable[[], T]) -> T:
    """Call something that imports torchvision, directly or not; if the import fails as described, cure it and retry."""
    try:
        return imports()
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error) or _library:
            raise
    library = torch.library.Library("torchvision", "DEF")
    library.define(f"nms{_NMS}")
    library.define(f"qnms{_NMS}")
    _library.append(library)
    return imports()


def torchvision_models() -> ModuleType:
    """Return torchvision.models."""
    return curing_torchvision(lambda: importlib.import_module("torchvision.models"))
