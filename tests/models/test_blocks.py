"""The network at a glance: few blocks, and every path of the data among them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.architectures import Loader
from tests.networks import Small, seeded
from xai.api import load
from xai.models.blocks import MOST, Block, blocks
from xai.models.graph import Graph


class Joining(nn.Module):
    """Two branches that meet, and a path around them."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.end = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Linear(11, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.left(x), self.right(x), x], dim=1)
        return self.end(joined.mean((2, 3)))


class Unnamed(nn.Module):
    """Many residual steps that no module names."""

    def __init__(self, steps: int = 40) -> None:
        super().__init__()
        self.kernels = nn.ParameterList([nn.Parameter(torch.randn(3, 3, 3, 3)) for _ in range(steps)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kernel in self.kernels:
            x = x + torch.relu(nn.functional.conv2d(x, kernel, padding=1))
        return x.mean((2, 3))


def graph_of(network: nn.Module, shape: tuple[int, ...] = (3, 16, 16)) -> Graph:
    graph = load(network.eval(), shape=shape).graph
    assert graph is not None
    return graph


def named(found: tuple[Block, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(block.name, block.kind, block.sources) for block in found]


def test_branches_and_ways_around_are_found() -> None:
    found = blocks(graph_of(Joining()))
    assert named(found) == [
        ("", "input", ()),
        ("left", "Conv2d", (0,)),
        ("right", "Conv2d", (0,)),
        ("cat", "cat", (0, 1, 2)),
        ("mean", "mean", (3,)),
        ("end", "Linear", (4,)),
        ("", "outputs", (5,)),
    ]
    assert [block.shape for block in found] == [(3, 16, 16), (4, 16, 16), (4, 16, 16), (11, 16, 16), (11,), (2,), (2,)]
    assert [block.parameters for block in found] == [0, 16, 16, 0, 0, 24, 0]
    assert [block.multiply_adds for block in found] == [0, 3072, 3072, 0, 0, 22, 0]


def test_a_residual_edge_passes_its_block() -> None:
    found = blocks(graph_of(seeded(Small)))
    (add,) = [block for block in found if block.kind == "add"]
    assert [found[index].name for index in add.sources] == ["act", "act@1"]


def test_normalisation_is_a_block_and_what_only_moves_numbers_is_none() -> None:
    model = load(seeded(Small), shape=(3, 16, 16), mean=0.5, std=0.25)
    assert model.graph is not None
    assert named(blocks(model.graph))[1] == ("", "(x - mean) / std", (0,))
    assert not {"view", "flatten", "sym_size"} & {block.kind for block in blocks(model.graph)}


def test_modules_are_opened_as_far_as_the_drawing_has_room(loaded: Loader) -> None:
    graph = loaded("resnet18").graph
    assert graph is not None
    shown = [block.name for block in blocks(graph)]
    assert "layer1.0" in shown
    assert "layer1" not in shown
    assert "layer1" in [block.name for block in blocks(graph, most=14)]
    assert sum(block.parameters for block in blocks(graph)) == graph.parameters


@pytest.mark.parametrize("most", [8, 20, MOST])
def test_where_no_module_has_a_name_neighbours_are_joined(most: int) -> None:
    graph = graph_of(Unnamed())
    found = blocks(graph, most)
    assert len(found) <= most
    assert sum(block.parameters for block in found) == graph.parameters
    assert all(max(block.sources) < index for index, block in enumerate(found) if index)
    assert all(block.sources == (index - 1,) for index, block in enumerate(found) if index), "cut between the steps"


def test_parameters_of_norms_count(loaded: Loader) -> None:
    graph = loaded("resnet18").graph
    assert graph is not None
    assert graph.layers["bn1"].parameters == 128
    assert sum(layer.parameters for layer in graph.layers.values() if layer.leaf) == graph.parameters
