"""The loop: who leaves, who comes in, what is kept."""

from __future__ import annotations

import pytest
import torch

from tests.robustness.victims import case, linear
from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.norms import Norm
from xai.robustness.regions import Region
from xai.robustness.search import Case, search
from xai.robustness.victim import Victim


def scene(epsilon: float = 0.5, norm: Norm = Norm.LINF, targeted: bool = False) -> Scene:
    return Scene(Region(norm, epsilon, -10, 10), torch.Generator().manual_seed(0), targeted)


class Walk(Attack):
    """Goes along the gradient's signs; a row's own counter tells whether rows are mixed up."""

    about = Method(
        name="walk",
        title="Walk",
        summary="",
        limits="",
        source="",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    norms = frozenset({Norm.LINF})
    steps: int = 8
    again: int = 1
    length: float = 0.05

    @property
    def looks(self) -> int:
        return self.steps + 1

    @property
    def tries(self) -> int:
        return self.again

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        lanes.own["which"] = lanes.sample.clone()
        lanes.own["steps"] = torch.zeros_like(lanes.sample)

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        assert torch.equal(lanes.own["which"], lanes.sample)
        lanes.own["steps"] = lanes.own["steps"] + 1
        assert torch.equal(lanes.own["steps"], lanes.step)
        assert len(seen.scores) == len(seen.gradient) == len(lanes)
        lanes.x = scene.region.project(lanes.origin, lanes.x + self.length * seen.gradient.sign())


class Leaving(Walk):
    """Looks outside of the region, where every linear model falls."""

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        lanes.x = lanes.origin + 5 * seen.gradient.sign()


class Tiring(Walk):
    """Gives an attempt up after as many steps as its sample's number says."""

    def finished(self, lanes: Lanes, seen: Seen) -> torch.Tensor:
        return lanes.step > lanes.sample


def test_an_attempt_that_is_finished_leaves_and_the_next_one_comes() -> None:
    model = linear()
    found = search(Tiring(again=2), Victim(model), case(model, 6), scene(1e-6), batch=4)
    assert found.looks.tolist() == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("batch", [1, 3, 5, 100])
def test_the_answer_does_not_depend_on_the_batch(batch: int) -> None:
    model = linear()
    found = search(Walk(), Victim(model), case(model, 20), scene(0.12), batch=batch)
    whole = search(Walk(), Victim(model), case(model, 20), scene(0.12), batch=20)
    assert torch.equal(found.distance, whole.distance)
    assert torch.equal(found.looks, whole.looks)
    assert 0 < found.distance.isfinite().sum() < 20


def test_what_fell_is_never_looked_at_again() -> None:
    model = linear()
    victim, given = Victim(model), case(model, 20)
    found = search(Walk(again=3), victim, given, scene(0.12), batch=7)
    fell = found.distance.isfinite()
    assert (found.looks[fell] <= 9).all()
    assert (found.looks[~fell] == 27).all()
    assert victim.forwards == int(found.looks.sum())
    # the last look of an attempt, and none besides, needs no gradient
    assert victim.backwards == victim.forwards - int((found.looks == 9)[fell].sum()) - 3 * int((~fell).sum())


def test_what_is_kept_fools_the_model_and_lies_in_the_region() -> None:
    model = linear()
    given, region = case(model, 20), scene(0.12).region
    found = search(Walk(), Victim(model), given, scene(0.12), batch=6)
    fell = found.distance.isfinite()
    assert region.holds(given.x[fell], found.points[fell]).all()
    assert (model(found.points[fell]).argmax(1) != given.label[fell]).all()
    assert torch.equal(found.points[~fell], given.x[~fell])
    assert torch.equal(region.distance(given.x, found.points)[fell], found.distance[fell])


def test_a_point_outside_of_the_region_is_no_success() -> None:
    model = linear()
    found = search(Leaving(), Victim(model), case(model), scene(0.01), batch=6)
    assert found.distance.isinf().all()


def test_a_target_is_reached_only_where_the_answer_is_that_class() -> None:
    model = linear()
    given = case(model, 20, wanted=2)
    found = search(Walk(steps=60), Victim(model), given, scene(3.0, targeted=True), batch=6)
    fell = found.distance.isfinite()
    assert fell.any()
    assert (model(found.points[fell]).argmax(1) == 2).all()


def test_scores_that_are_no_numbers_are_no_success() -> None:
    model = linear()
    given = case(model, 4)
    broken = Victim(model)
    broken.scores = lambda x: model(x) * torch.nan  # type: ignore[method-assign]  # a model that breaks down
    found = search(Walk(), broken, Case(given.x, given.label, None, given.clean), scene(), batch=4)
    assert found.distance.isinf().all()


@pytest.mark.parametrize(("output", "wanted"), [("logits", [[0.0, 0.3]]), ("probabilities", [[0.7, 0.3]])])
def test_one_output_stands_for_two_classes(output: str, wanted: list[list[float]]) -> None:
    import xai

    model = xai.load(lambda x: x.flatten(1)[:, :1], shape=(1, 2, 2), output=output, range=(0.0, 1.0))
    scores = Victim(model).scores(torch.full((1, 1, 2, 2), 0.3))
    given = scores.exp() if output == "probabilities" else scores
    assert torch.allclose(given, torch.tensor(wanted))
