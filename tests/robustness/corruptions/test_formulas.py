"""Each formula against a closed form, a plain second version or the package that does it."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv

from tests.robustness.corruptions.test_contract import NAMES, picture
from xai.robustness.corruptions.base import How, Table, corruptions
from xai.robustness.corruptions.defocus_blur import disk
from xai.robustness.corruptions.elastic_transform import stretching
from xai.robustness.corruptions.fog import plasma
from xai.robustness.corruptions.frost import crystals
from xai.robustness.corruptions.glass_blur import mixed
from xai.robustness.corruptions.rotation import turned
from xai.robustness.corruptions.scaling import resized
from xai.robustness.corruptions.translation import moved


def pixels(*shape: int) -> np.ndarray:
    """Return a picture of float64 in [0, 1]."""
    return picture(*shape).double().numpy()


def raw(name: str, x: np.ndarray, scale: float = 1.0, seed: int = 0, **strengths: float) -> np.ndarray:
    """Return what a formula gives for chosen strengths."""
    cls = corruptions.get(name)
    row = cls.large.rows[4]._replace(**strengths)
    how: How[Any] = How(row, scale, np.random.default_rng(seed))
    return cls().corrupt(x.copy(), how)


@pytest.mark.parametrize("table", ["small", "large"])
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise"])
def test_noise_has_the_mean_and_variance_of_its_formula(name: str, table: str) -> None:
    rows: Table = getattr(corruptions.get(name), table)
    for value in (0.2, 0.5, 0.9):
        x = np.full((1, 500, 500), value)
        for row in rows.rows:
            strength = row[0]
            mean, variance = {
                "gaussian_noise": (value, strength**2),
                "shot_noise": (value, value / strength),
                "impulse_noise": (
                    value + strength * (0.5 - value),
                    strength * 0.5 + (1 - strength) * value**2 - (value + strength * (0.5 - value)) ** 2,
                ),
            }[name]
            found = raw(name, x, **row._asdict())
            assert found.mean() == pytest.approx(mean, abs=5 * (variance / found.size) ** 0.5)
            assert found.var() == pytest.approx(variance, rel=0.06)


@pytest.mark.parametrize(
    ("name", "nothing"),
    [
        ("gaussian_noise", {"sigma": 0}),
        ("impulse_noise", {"amount": 0}),
        ("defocus_blur", {"radius": 0, "smoothing": 0}),
        ("motion_blur", {"radius": 0}),
        ("zoom_blur", {"pictures": 1}),
        ("glass_blur", {"sigma": 0, "rounds": 0}),
        ("snow", {"mean": 0, "sigma": 0, "scene": 1}),
        ("frost", {"scene": 1, "ice": 0}),
        ("fog", {"thickness": 0}),
        ("brightness", {"added": 0}),
        ("contrast", {"left": 1}),
        ("elastic_transform", {"displacement": 0, "corners": 0}),
        ("pixelate", {"left": 1}),
        ("rotation", {"degrees": 0}),
        ("scaling", {"size": 1}),
    ],
)
def test_no_strength_changes_nothing(name: str, nothing: dict[str, float]) -> None:
    for shape in ((3, 20, 27), (1, 32, 32)):
        x = pixels(*shape)
        np.testing.assert_allclose(raw(name, x, **nothing), x, atol=2e-7)


@pytest.mark.parametrize(("radius", "smoothing", "count"), [(3, 0.1, 29), (10, 0.5, 317), (0.5, 0.6, 1), (1.5, 0.1, 9)])
def test_a_disk_sums_to_one_and_holds_the_pixels_within_the_radius(radius: float, smoothing: float, count: int) -> None:
    kernel = disk(radius, smoothing)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel, kernel[::-1])
    if smoothing == 0.1:
        assert (kernel > 1e-6).sum() == count
        assert kernel.max() == pytest.approx(1 / count)


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "glass_blur", "zoom_blur"])
def test_a_blur_leaves_what_is_even_as_it_is(name: str) -> None:
    for scale in (1.0, 0.6, 2.0):
        np.testing.assert_allclose(raw(name, np.full((2, 40, 50), 0.3), scale), 0.3)


@pytest.mark.parametrize("far", [1, 2, 4])
def test_mixing_equals_the_published_loop(far: int) -> None:
    height, width = 17, 23
    expected = np.arange(height * width).reshape(height, width)
    rng = np.random.default_rng(5)
    inner = (height - 2 * far, width - 2 * far)
    down, right = rng.integers(-far, far, (2, *inner))
    for row in range(height - far, far, -1):
        for column in range(width - far, far, -1):
            by = down[row - far - 1, column - far - 1], right[row - far - 1, column - far - 1]
            expected[row, column] = expected[row + by[0], column + by[1]]
    np.testing.assert_array_equal(mixed(height, width, far, np.random.default_rng(5)), expected.ravel())


def test_brightness_is_the_value_of_hue_saturation_value() -> None:
    x = pixels(3, 30, 20)
    x[:, 0] = 0
    hsv = rgb2hsv(x.transpose(1, 2, 0))
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.3, 0, 1)
    np.testing.assert_allclose(raw("brightness", x, added=0.3), hsv2rgb(hsv).transpose(2, 0, 1), atol=1e-12)
    np.testing.assert_allclose(raw("brightness", x[:1], added=0.3), np.minimum(x[:1] + 0.3, 1))


def test_contrast_keeps_each_channels_mean_and_a_share_of_its_deviation() -> None:
    x = pixels(5, 30, 20)
    found = raw("contrast", x, left=0.3)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), x.mean(axis=(1, 2)))
    np.testing.assert_allclose(found.std(axis=(1, 2)), 0.3 * x.std(axis=(1, 2)))


def test_pixelate_averages_whole_boxes() -> None:
    x = pixels(2, 16, 24)
    means = x.reshape(2, 4, 4, 6, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(raw("pixelate", x, left=0.25), means.repeat(4, 1).repeat(4, 2), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [7, 25, 80])
def test_jpeg_equals_pillows_own(channels: int, quality: int) -> None:
    stored = (pixels(channels, 30, 41) * 255).round().astype(np.uint8)
    image = Image.fromarray(stored.transpose(1, 2, 0) if channels == 3 else stored[0])
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    expected = np.atleast_3d(np.asarray(Image.open(file))).transpose(2, 0, 1)
    np.testing.assert_array_equal(raw("jpeg_compression", stored / 255, quality=quality) * 255, expected)


def test_a_quarter_turn_is_exact_and_a_small_one_goes_anticlockwise() -> None:
    x = pixels(2, 9, 9)
    for times in range(4):
        np.testing.assert_array_equal(turned(x, 90 * times, "black"), np.rot90(x, times, axes=(1, 2)))
    oblong = pixels(1, 8, 12)
    np.testing.assert_array_equal(turned(oblong, 180, "black"), np.rot90(oblong, 2, axes=(1, 2)))
    assert turned(np.ones((1, 20, 20)), 45, "black")[0, 0, 0] == 0
    assert turned(np.ones((1, 20, 20)), 45, "edge").min() == pytest.approx(1)


def test_a_move_by_whole_pixels_is_exact() -> None:
    x = pixels(2, 10, 12)
    expected = np.zeros_like(x)
    expected[:, 3:, :-2] = x[:, :-3, 2:]
    np.testing.assert_array_equal(moved(x, 3, -2, "black"), expected)
    found = raw("translation", x, scale=2, pixels=2)
    assert (found == 0).all(axis=(0, 2)).sum() == 4, "lengths follow the size"
    assert (found == 0).all(axis=(0, 1)).sum() == 4


def test_half_the_size_shows_every_second_pixel_in_the_middle() -> None:
    x = pixels(1, 9, 9)
    found = resized(x, 0.5, "black")
    np.testing.assert_array_equal(found[:, 2:7, 2:7], x[:, ::2, ::2])
    found[:, 2:7, 2:7] = 0
    assert not found.any()


def test_stretching_maps_the_moved_corners_onto_their_places() -> None:
    linear, offset = stretching(32, 32, 0, np.random.default_rng(0))
    np.testing.assert_allclose(linear, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(offset, 0, atol=1e-10)
    linear, offset = stretching(32, 40, 2.5, np.random.default_rng(0))
    drawn = np.random.default_rng(0).uniform(-2.5, 2.5, (3, 2))
    points = np.array([[26, 30], [26, 10], [6, 10]])
    np.testing.assert_allclose((points + drawn) @ linear.T + offset, points)


def test_clouds_fill_the_range_tile_and_are_rougher_when_they_decay_slowly() -> None:
    def roughness(decay: float) -> float:
        clouds = plasma(128, decay, np.random.default_rng(1))
        assert (clouds.min(), clouds.max()) == (0, 1)
        wrap, within = np.abs(clouds[0] - clouds[-1]).mean(), np.abs(np.diff(clouds, axis=0)).mean()
        assert wrap < 2 * within, "a torus"
        return float(within)

    assert roughness(3) < roughness(2) < roughness(1.5)


def test_a_cloud_is_between_its_neighbours_but_for_the_displacement() -> None:
    clouds = plasma(64, 1e6, np.random.default_rng(0))  # displaced once, then only interpolated
    middle = clouds[1::2, 1::2]
    corners = clouds[::2, ::2] + np.roll(clouds[::2, ::2], -1, 0)
    corners = (corners + np.roll(corners, -1, 1)) / 4
    np.testing.assert_allclose(middle, corners, atol=1e-6)


def test_fog_lowers_contrast_and_never_exceeds_the_brightest_value() -> None:
    x = 0.8 * pixels(3, 40, 40)
    found = raw("fog", x)
    assert found.max() <= 0.8 + 1e-12
    flat = raw("fog", np.full((1, 32, 32), 0.5), thickness=1.5, decay=2)
    assert flat.min() == pytest.approx(0.5 * 0.5 / 2)
    assert flat.max() == pytest.approx(2 * 0.5 / 2)


def test_snow_only_brightens_and_falls_within_45_degrees_of_the_vertical() -> None:
    x = pixels(3, 64, 64)
    assert (raw("snow", x) >= x - 1e-12).all()
    for seed in range(8):
        flakes = raw("snow", np.zeros((1, 120, 120)), seed=seed, mean=0.1, threshold=0.6, scene=1, radius=15, motion=15)
        down, across = (float(np.abs(np.diff(flakes[0], axis=axis)).mean()) for axis in (0, 1))
        assert 0 < down < 1.1 * across


@pytest.mark.parametrize("size", [2.2, 11.0, 56.0])
def test_ice_is_a_relief_with_mean_0_and_deviation_1_at_any_size(size: float) -> None:
    relief = crystals(40, 60, size, np.random.default_rng(0))
    assert relief.shape == (40, 60)
    assert relief.mean() == pytest.approx(0, abs=1e-9)
    assert relief.std() == pytest.approx(1)


# Published tables need not grow by pixels. What does on photographs (pixelate, snow, motion) is held in test_published.
UNORDERED = {"glass_blur", "elastic_transform", "frost", "fog", "motion_blur", "snow", "pixelate"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNORDERED])
@pytest.mark.parametrize("side", [32, 224])
def test_damage_grows_with_severity(name: str, side: int) -> None:
    x = pixels(3, side, side)
    cls = corruptions.get(name)
    table = cls.small if side == 32 else cls.large
    errors = []
    for row in table.rows:
        found = [cls().corrupt(x.copy(), How(row, side / table.side, np.random.default_rng(seed))) for seed in range(2)]
        errors.append(float(np.square(np.clip(found, 0, 1) - x).mean()))
    assert all(less < more for less, more in pairwise(errors)), errors


@pytest.mark.parametrize("name", sorted(UNORDERED))
def test_the_highest_severity_does_more_damage_than_the_lowest_where_the_middle_is_unordered(name: str) -> None:
    cls = corruptions.get(name)
    table = cls.small
    x = pixels(3, 32, 32)

    def error(row: Any) -> float:
        found = [cls().corrupt(x.copy(), How(row, 1.0, np.random.default_rng(seed))) for seed in range(20)]
        return float(np.square(np.clip(found, 0, 1) - x).mean())

    first, last = error(table.rows[0]), error(table.rows[4])
    assert (first > last) if name == "elastic_transform" else (first < last)
