"""A guard judges as its parts say, keeps what it promises, and comes back from disk as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scipy.stats import betabinom

from tests.networks import Linear, seeded
from xai.api import load as load_model
from xai.errors import AnalysisError, RefusedFileError, TamperedError, UsageError
from xai.models.model import Model
from xai.robustness.ood.features import content_keys
from xai.robustness.ood.fitting import FittedSet
from xai.robustness.ood.guard import COMBINED, Guard, calibrate, parted
from xai.robustness.ood.metrics import auroc
from xai.robustness.ood.saving import FACTS, TENSORS, load, save


def test_combinations_are_of_all_and_of_every_family(guard: Guard) -> None:
    assert set(guard.combinations) == {COMBINED, "logits", "features", "shaping", "gradients"}
    assert set(guard.combinations[COMBINED].members) == set(guard.fitted.fitted)
    assert set(guard.combinations["shaping"].members) == {"react", "dice", "ash", "scale"}
    assert set(guard.calibrations) == set(guard.combinations) | set(guard.fitted.fitted)


def test_a_combinations_reference_and_threshold_share_no_image(
    digits: Model, pictures: tuple[torch.Tensor, ...], guard: Guard
) -> None:
    keys = content_keys(pictures[2])
    first, second = parted(keys)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(300))
    scores = guard.fitted.scores(digits, pictures[2])
    made = guard.combinations[COMBINED]
    assert torch.equal(made.reference["msp"], scores["msp"][first].sort().values)
    rest = {name: values[second] for name, values in scores.items()}
    assert torch.equal(guard.calibrations[COMBINED].scores, made.score(rest).sort().values)
    assert len(guard.calibrations["msp"].scores) == 300


def test_the_guard_does_not_depend_on_the_order_of_what_was_held_back(
    digits: Model, pictures: tuple[torch.Tensor, ...], guard: Guard
) -> None:
    back = pictures[2].flip(0)
    again = calibrate(guard.fitted, guard.fitted.scores(digits, back), content_keys(back))
    for name, one in guard.calibrations.items():
        assert again.calibrations[name].threshold.value == pytest.approx(one.threshold.value, rel=1e-5, abs=1e-9), name


def test_new_images_are_kept_and_foreign_ones_found(
    digits: Model, pictures: tuple[torch.Tensor, ...], guard: Guard
) -> None:
    inside = guard.judge(guard.scores(digits, pictures[3]))
    foreign = guard.judge(guard.scores(digits, 0.3 * pictures[3] + 0.1))
    low, high = betabinom(200, 143, 8).ppf([0.001, 0.999])  # 150 images give the threshold
    assert low <= int(inside[COMBINED].inside.sum()) <= high
    assert int(foreign[COMBINED].inside.sum()) < 10
    assert torch.equal(inside[COMBINED].inside, inside[COMBINED].p_values > 0.05 + 1e-12)
    assert auroc(inside[COMBINED].scores, foreign[COMBINED].scores) > 0.99


def test_too_few_held_back_images_and_wrong_counts_are_refused(guard: Guard) -> None:
    scores = {name: torch.rand(30) for name in guard.fitted.fitted}
    with pytest.raises(UsageError, match=r"expected at least 37 held-back images .* received 30"):
        calibrate(guard.fitted, scores, torch.arange(30))
    with pytest.raises(UsageError, match=r"expected at least 2 held-back images .* received 1: half"):
        calibrate(guard.fitted, {name: values[:1] for name, values in scores.items()}, torch.arange(1), keep=0.5)
    enough = {name: torch.rand(37) for name in guard.fitted.fitted}
    assert calibrate(guard.fitted, enough, torch.arange(37)).calibrations[COMBINED].threshold.keeps.value == 0.95
    with pytest.raises(UsageError, match="expected 29 scores of every detector"):
        calibrate(guard.fitted, scores, torch.arange(29))


def test_scores_that_are_no_numbers_are_not_judged(guard: Guard) -> None:
    scores = {name: torch.full((1,), float("nan")) for name in guard.calibrations}
    with pytest.raises(AnalysisError, match="expected finite scores of new images"):
        guard.judge(scores)


@pytest.fixture
def saved(guard: Guard, tmp_path: Path) -> Path:
    save(guard, tmp_path / "detector")
    return tmp_path / "detector"


def test_a_guard_comes_back_as_it_was(
    digits: Model, pictures: tuple[torch.Tensor, ...], guard: Guard, saved: Path, tmp_path: Path
) -> None:
    again = load(saved, digits)
    for name, one in guard.fitted.fitted.items():
        found = again.fitted.fitted[name]
        assert found.detector == one.detector
        assert set(found.state) == set(one.state)
        assert all(torch.equal(found.state[key], value) for key, value in one.state.items())
    assert again.calibrations.keys() == guard.calibrations.keys()
    for name, one in guard.calibrations.items():
        assert again.calibrations[name].threshold == one.threshold
        assert torch.equal(again.calibrations[name].scores, one.scores)
    assert (again.fitted.notes, again.fitted.images) == (guard.fitted.notes, guard.fitted.images)
    expected, found = (one.scores(digits, pictures[3]) for one in (guard, again))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    save(again, tmp_path / "again")
    assert (tmp_path / "again" / TENSORS).read_bytes() == (saved / TENSORS).read_bytes()
    assert (tmp_path / "again" / FACTS).read_bytes() == (saved / FACTS).read_bytes()


def test_fitted_detectors_without_a_threshold_are_kept_too(
    digits: Model, fitted_digits: FittedSet, tmp_path: Path
) -> None:
    save(Guard(fitted_digits), tmp_path / "fitted")
    assert load(tmp_path / "fitted", digits).fitted.fitted.keys() == fitted_digits.fitted.keys()


def test_another_model_is_refused(saved: Path) -> None:
    other = load_model(seeded(Linear), shape=(3, 12, 10))
    with pytest.raises(RefusedFileError, match="were fitted to another model"):
        load(saved, other)


def test_files_are_never_written_over(guard: Guard, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a folder without detectors"):
        save(guard, saved)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder without detectors"):
        save(guard, tmp_path / "file")


def test_what_does_not_exist_is_a_usage_error(digits: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not exist"):
        load(tmp_path / "nothing", digits)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedFileError, match="cannot be read"):
        load(tmp_path / "empty", digits)


@pytest.mark.parametrize("name", [FACTS, TENSORS])
@pytest.mark.parametrize("keep", [0, 10, -3, -1000])
def test_what_is_cut_short_is_refused(digits: Model, saved: Path, name: str, keep: int) -> None:
    (saved / name).write_bytes((saved / name).read_bytes()[:keep])
    with pytest.raises(RefusedFileError, match=r"cannot be read|cut short"):
        load(saved, digits)


def test_what_was_changed_is_refused(digits: Model, saved: Path) -> None:
    content = bytearray((saved / TENSORS).read_bytes())
    content[-20] ^= 1
    (saved / TENSORS).write_bytes(content)
    with pytest.raises(TamperedError, match=f"{TENSORS} is not as it was written"):
        load(saved, digits)


def test_a_threshold_that_was_moved_is_refused(digits: Model, saved: Path) -> None:
    facts = json.loads((saved / FACTS).read_text())
    facts["thresholds"][COMBINED]["value"] += 1
    (saved / FACTS).write_text(json.dumps(facts))
    with pytest.raises(TamperedError, match=f"{FACTS} is not as it was written"):
        load(saved, digits)


def forged(saved: Path, change) -> None:
    """Change the facts and seal them anew, as one would who knows how."""
    from xai.robustness.ood.saving import _seal

    facts = json.loads((saved / FACTS).read_text())
    facts.pop("seal")
    change(facts)
    (saved / FACTS).write_text(json.dumps(facts | {"seal": _seal(facts)}))


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["detectors"].update(nothing={}),
        lambda facts: facts["detectors"]["knn"].update(k="many"),
        lambda facts: facts["detectors"]["knn"].update(k=10_000),
        lambda facts: facts["combinations"][COMBINED].append("nothing"),
        lambda facts: facts["thresholds"].update(nothing=facts["thresholds"]["msp"]),
        lambda facts: facts["thresholds"]["msp"].update(value=[]),
        lambda facts: facts.pop("layers"),
        lambda facts: facts.pop("bytes"),
        lambda facts: facts.update(layers=["nothing"]),
        lambda facts: facts.update(detectors=7),
        lambda facts: facts.update(format=2),
    ],
)
def test_facts_that_make_no_sense_are_refused_in_one_line(digits: Model, saved: Path, change) -> None:
    forged(saved, change)
    with pytest.raises(RefusedFileError, match="detectors ") as caught:
        load(saved, digits)
    assert "\n" not in str(caught.value)
