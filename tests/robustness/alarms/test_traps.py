"""Every way to hide a gradient raises its alarms and no others; an honest network raises none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import xai
import xai.robustness.alarms
import xai.robustness.attacks
from tests.robustness.alarms.subjects import heard, hidden, spoken, subject
from tests.robustness.victims import case, linear, nearest
from xai.cli.main import run as command
from xai.errors import NotApplicableError
from xai.models.model import Model
from xai.models.samples.digits import split
from xai.robustness.alarms.base import alarms
from xai.robustness.norms import Norm

CORNERS = '''
"""Random corners of the region: what helps stays. It needs no gradients."""

import torch

from xai.registry import Kind, Method
from xai.robustness.attacks.base import Attack
from xai.robustness.norms import Norm, each


class Corners(Attack):
    about = Method(name="corners", title="Corners", summary="", limits="", source="", kind=Kind.HEURISTIC)
    norms = frozenset({Norm.LINF})
    queries: int = 200

    @property
    def looks(self):
        return self.queries

    def begin(self, lanes, scene):
        lanes.own["best"], lanes.own["top"] = lanes.x, torch.full_like(lanes.clean[:, 0], -torch.inf)

    def advance(self, lanes, seen, scene):
        better = seen.loss > lanes.own["top"]
        lanes.own["top"] = torch.where(better, seen.loss, lanes.own["top"])
        lanes.own["best"] = torch.where(each(better, lanes.x).bool(), lanes.x, lanes.own["best"])
        drawn = torch.rand(2, *lanes.x.shape, generator=scene.generator)
        corner = lanes.origin + scene.region.epsilon * (drawn[0] - 0.5).sign()
        lanes.x = scene.region.project(lanes.origin, torch.where(drawn[1] < 0.1, corner, lanes.own["best"]))
'''


@pytest.fixture
def corners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be an attack without gradients, whichever others there are."""
    (tmp_path / "zz_corners.py").write_text(CORNERS)
    package = xai.robustness.attacks
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])


TOY = '''
"""A toy."""

from xai.registry import Kind, Method
from xai.reports.records import Value
from xai.robustness.alarms.base import Alarm, Signal


class Toy(Alarm):
    about = Method(name="toy", title="Toy alarm", summary="Many are many.", limits="Nothing.", source="Nobody 2026",
                   kind=Kind.EXACT)

    def look(self, subject):
        return Signal(f"There are {len(subject)} images.", "neither", {"images": Value(value=len(subject))})
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop an alarm in as one file."""
    (tmp_path / "zz_toy.py").write_text(TOY)
    package = xai.robustness.alarms
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])


@pytest.fixture(scope="module")
def honest(digits: Model) -> Model:
    return hidden(digits)


def rounded(x: torch.Tensor) -> torch.Tensor:
    return torch.round(x * 4) / 4


def shouted(scores: torch.Tensor) -> torch.Tensor:
    return scores * 1000


def rippled(x: torch.Tensor) -> torch.Tensor:
    """Rise on the whole, and fall on the last part of every wave: long steps pass, short ones do not."""
    return x + 1.2 / 314 * torch.sin(314 * x)


@pytest.mark.usefixtures("corners")
@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_an_honest_network_raises_no_alarm(honest: Model, digits: Model, epsilon: float) -> None:
    said = spoken(subject(honest, epsilon, surrogate=digits))
    assert set(said) == set(alarms.all())
    assert "against" not in said.values()
    assert said["unbounded"] == said["zero_gradients"] == "for"


@pytest.mark.usefixtures("corners")
def test_a_rounded_input_is_told_from_all_sides(digits: Model) -> None:
    found = subject(hidden(digits, before=rounded), 0.15, surrogate=digits)
    said = heard(found)
    assert {name for name, signal in said.items() if signal.speaks == "against"} >= {
        "black_box",
        "stepped_input",
        "transfer",
        "zero_gradients",
    }
    assert said["more_steps"].speaks != "against"
    assert said["scaled_scores"].speaks != "against"
    assert said["stepped_input"].values["same outputs after a tiny change"].value == 1
    assert said["stepped_input"].values["only to PGD straight through rounding"].value > 50
    assert said["zero_gradients"].values["margin: zero"].value == 1


@pytest.mark.usefixtures("corners")
def test_scores_that_shout_are_told_by_their_scale(digits: Model) -> None:
    said = heard(subject(hidden(digits, after=shouted), 0.1))
    assert said["scaled_scores"].speaks == "against"
    assert said["zero_gradients"].speaks == "against"
    assert said["zero_gradients"].values["cross-entropy: zero"].value > 0.9
    assert said["zero_gradients"].values["margin: zero"].value == 0
    assert said["stepped_input"].speaks != "against"
    assert said["more_steps"].speaks != "against"


def test_whispered_scores_are_no_masking(digits: Model) -> None:
    said = spoken(subject(hidden(digits, after=lambda scores: scores / 1000), 0.1), "scaled_scores", "zero_gradients")
    assert said["zero_gradients"] == "for"
    assert said["scaled_scores"] != "against"


def test_short_steps_that_are_caught_where_long_ones_pass_raise_the_alarm(digits: Model) -> None:
    found = subject(hidden(digits, before=rippled), 0.1)
    said = heard(found, "more_steps", "zero_gradients")
    assert said["more_steps"].speaks == "against"
    assert said["zero_gradients"].speaks == "for"


def test_an_attack_that_is_led_nowhere_falls_short_without_bounds(digits: Model) -> None:
    def steps_that_see_noise_as_grey(x: torch.Tensor) -> torch.Tensor:
        seen = ((x - 0.5).abs().mean((1, 2, 3), keepdim=True) > 0.3).float()
        return rounded(x * seen + 0.5 * (1 - seen))

    said = heard(subject(hidden(digits, before=steps_that_see_noise_as_grey), 0.1), "unbounded")["unbounded"]
    assert said.speaks == "against"
    assert said.values["stand"].value >= 1
    assert said.values["fall"].value + said.values["stand"].value == 64
    assert "for each of them an image of another class lies in the region" in said.sentence


def test_steps_made_by_comparing_are_seen_though_no_way_through_is_known(digits: Model) -> None:
    said = heard(subject(hidden(digits, before=lambda x: (x > 0.5).float()), 0.1), "stepped_input", "zero_gradients")
    assert said["zero_gradients"].speaks == "against"
    assert said["stepped_input"].speaks == "neither"
    assert "goes in steps" in said["stepped_input"].sentence


def test_a_model_with_one_answer_only_is_no_sign_of_masking(digits: Model) -> None:
    constant = hidden(digits, after=lambda scores: scores * 0 + torch.arange(10.0))
    images = split()[1].images[:20], torch.full((20,), 9)
    said = heard(subject(constant, 0.1, images=images), "unbounded")["unbounded"]
    assert (said.speaks, said.values["stand"].value) == ("neither", 20)
    assert "all are of one class" in said.sentence


def test_integers_on_the_way_have_no_gradient_and_no_attack_breaks_on_them(digits: Model) -> None:
    found = subject(hidden(digits, before=lambda x: (x * 4).to(torch.int32).float() / 4), 0.15)
    said = heard(found, "zero_gradients", "stepped_input")
    assert said["zero_gradients"].values["cross-entropy: zero"].value == 1
    assert said["stepped_input"].speaks == "against", "through the cast to integers the way is open"


def test_gradients_that_are_no_numbers_are_counted(digits: Model) -> None:
    wild = hidden(digits, after=lambda scores: scores + 0 * (scores - scores).sqrt())
    said = heard(subject(wild, 0.1), "zero_gradients")["zero_gradients"]
    assert said.speaks == "against"
    assert said.values["margin: not finite"].value == 1


@pytest.mark.parametrize(("norm", "epsilon"), [(Norm.L2, 0.8), (Norm.L1, 4.0)])
def test_an_honest_network_raises_none_in_other_norms(honest: Model, norm: Norm, epsilon: float) -> None:
    found = subject(honest, epsilon, norm=norm)
    assert "against" not in spoken(found, "more_steps", "scaled_scores", "stepped_input", "unbounded").values()
    assert found.plain.any()


def test_a_wanted_class_is_what_counts(honest: Model) -> None:
    found = subject(honest, 0.1, wanted=3)
    assert set(spoken(found, "more_steps", "scaled_scores", "unbounded").values()) <= {"for", "neither"}
    assert found.plain.sum() < subject(honest, 0.1).plain.sum()


def test_batch_norm_is_never_in_training(digits: Model) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10)).train()
    model = xai.load(module, shape=(1, 8, 8), range=(0, 1), mean=0.0, std=1.0)
    x = split()[1].images[:8]
    with torch.no_grad():
        assert torch.allclose(model(x)[:1], model(x[:1]), atol=1e-6), "an answer does not depend on its neighbours"
        assert torch.allclose(model(x), module.eval()(x), atol=1e-6)


def test_scaling_the_loss_changes_no_step(honest: Model) -> None:
    found = subject(honest, 0.1)
    victim = found.victim

    def thousandth(x: torch.Tensor, loss: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return victim.differentiated(x, lambda scores: loss(scores) / 1000)  # type: ignore[operator]

    for norm in (Norm.LINF, Norm.L2):
        one = replace(found, region=replace(found.region, norm=norm, epsilon=0.1 if norm is Norm.LINF else 0.8))
        assert torch.equal(one.fallen("plain"), one.fallen("plain", lender=thousandth))


def test_the_default_step_reaches_the_border_whatever_the_steps() -> None:
    """A fixed share of epsilon a step would leave most of the region unseen when steps are few."""
    model = linear(classes=2)
    some = case(model)
    needed = nearest(model, some, torch.inf)
    for steps in (5, 10, 40):
        found = replace(subject(model, 1.0, images=(some.x, some.label)), case=some)
        attack = found.attack.model_copy(update={"steps": steps})
        for row in range(3):
            region = replace(found.region, epsilon=1.02 * float(needed[row]))
            assert bool(found.fallen("reach", attack=attack, case=some.take(torch.tensor([row])), region=region).all())


def test_few_images_are_not_judged_by_chance(honest: Model) -> None:
    with pytest.raises(NotApplicableError, match="at least 7 images to tell a difference from chance; there are 6"):
        heard(subject(honest, 0.1, count=6), "more_steps")
    assert heard(subject(honest, 0.1, count=1), "zero_gradients")["zero_gradients"].speaks == "for"


def test_without_a_surrogate_transfer_is_not_asked(honest: Model) -> None:
    with pytest.raises(NotApplicableError, match="no other model for the same task was given"):
        heard(subject(honest, 0.1), "transfer")


@pytest.mark.usefixtures("corners")
def test_alarms_are_the_same_again_and_change_nothing(digits: Model) -> None:
    assert digits.graph is not None
    tensors = digits.graph.module.state_dict()
    state, weights = torch.get_rng_state(), {key: value.clone() for key, value in tensors.items()}
    first, again = (heard(subject(digits, 0.1, count=16)) for _ in range(2))
    assert first == again
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(weights[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("name", alarms.all())
def test_an_alarm_declares_itself(name: str) -> None:
    cls = alarms.get(name)
    assert cls.about.name == name
    assert all((cls.about.title, cls.about.summary, cls.about.limits, cls.about.source))
    assert all(field.description for field in cls.model_fields.values())


@pytest.mark.usefixtures("toy")
def test_one_file_is_enough(honest: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["methods", "toy"]) == 0
    assert "Nobody 2026" in capsys.readouterr().out
    assert heard(subject(honest, 0.1, count=3), "toy")["toy"].sentence == "There are 3 images."
