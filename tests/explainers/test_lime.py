"""LIME against the lime package, a closed form, and its pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer

from tests.conftest import IMAGES
from tests.networks import Linear
from xai.api import explain, load
from xai.explainers.lime import cosine_weights, fit
from xai.masking.superpixels import segment
from xai.models.model import Model
from xai.reports.run import Found


class Replayed(np.random.RandomState):
    """Gives lime the masks that were recorded, where it would draw its own."""

    masks: np.ndarray

    def randint(self, low, high=None, size=None, dtype=int):
        if size == self.masks.size:
            return self.masks.ravel().astype(int)
        return super().randint(low, high, size, dtype)


def lime(model: Model, x: torch.Tensor, target: int = 0, **parameters: object) -> Found:
    return explain(model, x, methods="lime", measures="none", target=target, parameters={"lime": parameters})["lime"]


def recorded(found: Found, name: str) -> np.ndarray:
    return found.run.array(found.record, name)


def colourful() -> torch.Tensor:
    """Return nine coloured patches, 24 x 24 pixels."""
    patches = torch.rand((1, 3, 3, 3), generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(patches, scale_factor=8)[0]


@pytest.fixture(scope="module")
def wide() -> Model:
    return load(Linear((3, 24, 24)), shape=(3, 24, 24))


def test_on_recorded_masks_and_scores_it_equals_lime() -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (400, 23)).astype(bool)
    masks[0] = True
    masks[1] = False  # nothing is left: cosine distance 1
    scores = masks @ rng.normal(size=23) + 0.3 * np.sin(5 * masks.sum(1)) + rng.normal(size=400)
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(masks.astype(float), masks[:1].astype(float), metric="cosine").ravel()
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), random_state=np.random.RandomState(0))
    intercept, theirs, r2, local = base.explain_instance_with_data(
        masks.astype(float), scores[:, None], distances, 0, num_features=100
    )
    ours = fit(masks, scores, cosine_weights(masks, 0.25), alpha=1.0)
    np.testing.assert_allclose(ours.coefficients, [value for _, value in sorted(theirs)], atol=1e-6)
    assert ours.intercept == pytest.approx(intercept, abs=1e-6)
    assert ours.r2 == pytest.approx(r2, abs=1e-6)
    assert ours.local_prediction == pytest.approx(local[0], abs=1e-6)


@pytest.mark.parametrize(("fill", "hide"), [("segment", None), ("black", 0)])
def test_end_to_end_with_limes_settings_it_equals_lime(shapes: Model, fill: str, hide: int | None) -> None:
    x = shapes.prepare(IMAGES / "ring.png").tensor
    ours = lime(shapes, x, 3, segmentation="quickshift", fill=fill, samples=400, alpha=1 / 0.4)

    def classify(pictures: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return shapes(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()).double().numpy()

    state = Replayed(0)
    state.masks = recorded(ours, "masks")
    explainer = LimeImageExplainer(random_state=state)
    theirs = explainer.explain_instance(
        x.permute(1, 2, 0).double().numpy(),
        classify,
        labels=(3,),
        top_labels=None,
        hide_color=hide,
        num_samples=400,
    )
    assert np.array_equal(theirs.segments, recorded(ours, "segment labels"))
    expected = np.array([value for _, value in sorted(theirs.local_exp[3])])
    np.testing.assert_allclose(ours.map, expected[theirs.segments], atol=1e-4 * np.abs(expected).max())
    assert ours.record.values["R2"].value == pytest.approx(theirs.score, abs=1e-4)
    assert ours.record.values["local prediction"].value == pytest.approx(theirs.local_pred[0], rel=1e-4)


def test_a_linear_model_gets_each_segments_contribution(wide: Model) -> None:
    x = colourful()
    found = lime(wide, x, 1, segmentation="grid", segments=16, fill="black", samples=2000, alpha=1e-6)
    contribution = (x * Linear((3, 24, 24)).weight.detach()[1]).sum(0).numpy()
    labels = recorded(found, "segment labels")
    expected = np.array([contribution[labels == number].sum() for number in range(16)])
    np.testing.assert_allclose(found.map, expected[labels], atol=1e-4 * np.abs(expected).max())
    assert found.record.values["R2"].value == pytest.approx(1, abs=1e-6)
    assert found.record.values["local prediction"].value == pytest.approx(found.record.values["output"].value, abs=1e-3)
    assert found.record.values["overlap"].value == 1


def test_fewer_samples_do_not_shrink_the_coefficients(wide: Model) -> None:
    few, many = (lime(wide, colourful(), 1, segments=9, samples=samples, fill="black").map for samples in (100, 5000))
    assert np.linalg.norm(few) == pytest.approx(np.linalg.norm(many), rel=2e-3)


def test_whoever_asks_for_an_interval_is_told_of_it_and_not_of_the_rule_of_thumb(wide: Model, shapes: Model) -> None:
    sure = lime(wide, colourful(), 1, segmentation="grid", segments=16, samples=2000, interval=0.1)
    assert sure.record.values["samples a segment"].value < 10
    assert not sure.record.notes
    unsure = lime(shapes, shapes.prepare(IMAGES / "ring.png").tensor, 3, samples=150, interval=0.01)
    assert any("not as sure as asked" in note and "raise lime.samples" in note for note in unsure.record.notes)


def test_the_evidence_makes_the_map_again(wide: Model) -> None:
    found = lime(wide, colourful(), segments=9, samples=100, fill="black")
    masks = recorded(found, "masks")
    again = fit(masks, recorded(found, "outputs"), cosine_weights(masks, 0.25), alpha=0.1 * 100 / 1000)
    np.testing.assert_allclose(again.coefficients[recorded(found, "segment labels")], found.map, rtol=1e-6)


@pytest.mark.parametrize("how", ["slic", "quickshift", "grid"])
@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_segments_are_numbered_from_nought_without_gaps(how: str, channels: int) -> None:
    rng = np.random.default_rng(channels)
    x = rng.random((channels, 4, 5)).repeat(16, 1).repeat(16, 2)
    labels = segment(x, how, 12)
    assert labels.shape == (64, 80)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() >= 1
    assert np.array_equal(labels, segment(x, how, 12))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 60))
@settings(deadline=None)
def test_a_grid_has_about_as_many_segments_as_wanted(height: int, width: int, number: int) -> None:
    labels = segment(np.zeros((1, height, width)), "grid", number)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() + 1 <= 2 * number


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("how", ["slic", "quickshift", "grid"])
def test_grey_and_many_channel_inputs(channels: int, how: str) -> None:
    model = load(Linear((channels, 64, 64)), shape=(channels, 64, 64))
    patches = torch.rand((1, channels, 4, 4), generator=torch.Generator().manual_seed(3))
    x = torch.nn.functional.interpolate(patches, scale_factor=16)[0]
    found = lime(model, x, segmentation=how, fill="black", samples=400)
    assert found.record.status == "ok", found.record.reason
    assert found.record.values["R2"].value > 0.9


def test_few_samples_a_segment_are_warned_about(wide: Model) -> None:
    scarce = lime(wide, colourful(), segmentation="grid", segments=16, samples=100).record
    assert scarce.values["samples a segment"].value == pytest.approx(6.25)
    assert any("6.2 samples a segment" in note and "at least 10" in note for note in scarce.notes)
    plenty = lime(wide, colourful(), segmentation="grid", segments=16, samples=160).record
    assert not any("samples a segment" in note for note in plenty.notes)


def test_a_surrogate_that_does_not_fit_is_said(small: Model) -> None:
    noise = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(0))
    found = lime(small, noise, segmentation="grid", segments=100, samples=40, alpha=1000.0).record
    assert found.values["R2"].value < 0.5
    assert any("explains" in note and "say little" in note for note in found.notes)


def test_one_segment_only_is_skipped_with_the_reason() -> None:
    tiny = load(Linear((3, 1, 1)), shape=(3, 1, 1))
    found = lime(tiny, torch.full((3, 1, 1), 0.5)).record
    assert found.status == "skipped"
    assert "one segment only" in found.reason


def test_a_picture_that_is_not_cut_is_cut_by_a_grid_and_that_is_said(
    wide: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai.masking.superpixels.slic", lambda picture, **_: np.zeros(picture.shape[:2], dtype=int))
    noise = torch.rand((3, 24, 24), generator=torch.Generator().manual_seed(0))
    found = lime(wide, noise, samples=600).record
    assert found.parameters["segmentation"] == "grid"
    assert found.values["segments"].value > 40
    assert any("slic finds one segment only" in note for note in found.notes)


@pytest.mark.parametrize("how", ["slic", "quickshift"])
@pytest.mark.parametrize("channels", [1, 4])
def test_segments_follow_the_picture_whatever_its_channels(how: str, channels: int) -> None:
    rows, columns = np.mgrid[0:64, 0:64]
    disc = np.repeat((np.hypot(rows - 30, columns - 20) < 14)[None].astype(float), channels, 0)
    stripes = np.repeat((columns // 20 % 2)[None].astype(float), channels, 0)
    for picture in (disc, stripes):
        labels = segment(picture, how, 20)
        inside = [picture[0][labels == number].mean() for number in range(labels.max() + 1)]
        assert np.mean([min(share, 1 - share) for share in inside]) < 0.1, "segments end where the picture changes"
    assert not np.array_equal(segment(disc, how, 20), segment(stripes, how, 20))


def test_an_overlap_that_cannot_fail_is_not_told(wide: Model) -> None:
    few = lime(wide, colourful(), segmentation="grid", segments=4, fill="black").record.values
    assert few["overlap"].value is None
    degenerate = lime(wide, colourful(), segmentation="grid", segments=16, fill="black", kernel_width=0.01).record
    assert degenerate.values["overlap"].value is None


def test_covering_that_changes_nothing_is_skipped_with_the_remedy(wide: Model) -> None:
    found = lime(wide, colourful(), segmentation="grid", segments=9).record
    assert found.status == "skipped"
    assert "every segment has one colour" in found.reason
    assert "lime.fill" in found.reason
    one = colourful()
    one[:, :8, :8] = torch.rand((3, 8, 8), generator=torch.Generator().manual_seed(0))
    assert lime(wide, one, segmentation="grid", segments=9).record.values["segments without effect"].value == 8


def test_small_pictures_get_fewer_segments() -> None:
    model = load(Linear((1, 8, 8)), shape=(1, 8, 8))
    found = lime(model, torch.rand((1, 8, 8), generator=torch.Generator().manual_seed(0)), segmentation="grid")
    assert found.record.values["segments"].value == 16
    assert found.record.values["blank"].value is False


def test_seeds_shape_the_masks_and_are_recorded(wide: Model) -> None:
    first, again, other = (
        explain(
            wide,
            colourful(),
            methods="lime",
            measures="none",
            seed=seed,
            parameters={"lime": {"samples": 50, "fill": 0}},
        )["lime"]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(recorded(first, "masks"), recorded(again, "masks"))
    assert not np.array_equal(recorded(first, "masks"), recorded(other, "masks"))
    assert first.record.parameters["sampling seeds"] != other.record.parameters["sampling seeds"]
    assert np.array_equal(recorded(first, "segment labels"), recorded(other, "segment labels"))
