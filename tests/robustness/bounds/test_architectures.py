"""Small relatives of networks that people use: every operator of theirs has a rule, and their bounds are finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.mlp_mixer import MlpMixer
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.swin_transformer import SwinTransformer

from tests.robustness.bounds.nets import assert_sound, box_of, lowered, output_bounds

SHAPE = (3, 16, 16)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: timm.create_model("resnet10t", num_classes=3, stem_width=4, channels=(4, 4, 8, 8)),
    "densenet": lambda: DenseNet(4, (1, 1), 4, num_classes=3),
    "convnext": lambda: ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)], num_classes=3),
    "vision transformer": lambda: VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3),
    "swin": lambda: SwinTransformer([4, 4], 4, [1, 2], [1, 2], [2, 2], num_classes=3),
    "timm's vision transformer": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, num_classes=3
    ),
    "mobilenet": lambda: timm.create_model("mobilenetv3_small_050", num_classes=3),
    "mixer": lambda: MlpMixer(num_classes=3, img_size=16, patch_size=8, embed_dim=8, num_blocks=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_are_bounded_by_intervals_and_by_crown(name: str) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    for parameter in net.parameters():
        if parameter.ndim > 1 and not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)  # torchvision begins with heads of zeros
    _, steps = lowered(net, SHAPE)
    inputs = box_of(torch.rand(1, *SHAPE), 1e-4)
    assert_sound(net, steps, inputs, ["ibp", "crown"])
    loose, tight = (output_bounds(steps, inputs, method).width for method in ("ibp", "crown"))
    assert bool(loose.isfinite().all())
    assert bool((tight <= loose * (1 + 1e-6)).all())
