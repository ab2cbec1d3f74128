"""sample:NAME:A-B are labelled pictures that no training saw."""

from __future__ import annotations

import pytest
import torch

from xai.data.dataset import open_data
from xai.errors import UsageError
from xai.models.model import Model
from xai.models.samples import sample_held_out
from xai.models.samples.digits import split


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_numbers_name_the_same_pictures_whatever_stands_before_them(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    whole = open_data(f"sample:{name}:0-70", model).read_many(range(70)).samples
    part = open_data(f"sample:{name}:55-65", model).read_many(range(10)).samples
    assert [one.id for one in part] == [f"test/{number}" for number in range(55, 65)]
    for one, other in zip(part, whole[55:65], strict=True):
        assert torch.equal(one.input, other.input)
        assert (one.label, one.digest, one.id) == (other.label, other.digest, other.id)
    images, labels = sample_held_out(name, 55, 65)
    assert torch.equal(torch.stack([one.input for one in part]), images)
    assert [one.label for one in part] == labels.tolist()


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_what_a_row_calls_its_source_opens_that_picture(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    (one,) = open_data(f"sample:{name}:7-9", model).read_many([1]).samples
    assert one.source == f"sample:{name}:8-9"
    (again,) = open_data(one.source, model).read_many([0]).samples
    assert (again.id, again.digest, again.label) == (one.id, one.digest, one.label)


def test_the_network_knows_most_of_them_and_none_was_trained_on(digits: Model) -> None:
    data = open_data("sample:digits:0-200", digits)
    part = data.read_many(range(200))
    labels = torch.tensor([one.label for one in part.samples])
    assert (digits(part.inputs).argmax(1) == labels).float().mean() > 0.9
    train = {tuple(image.flatten().tolist()) for image in split()[0].images}
    held = {tuple(one.input.flatten().tolist()) for one in part.samples}
    assert len(held & train) <= 2  # a hand may write the same eight by eight pixels twice


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("sample:digits:0-501", "the sample has 500 test pictures at most"),
        ("sample:digits:600-700", "the sample has"),
        ("sample:digits:5-5", "expected numbers from and to"),
        ("sample:digits:9-2", "expected numbers from and to"),
        ("sample:digits:0-99999999", "at most 20000"),
        ("sample:digits:x", "expected numbers from and to"),
        ("sample:digitz:0-9", "did you mean 'digits'"),
    ],
)
def test_numbers_that_do_not_exist_are_refused_in_one_line(digits: Model, source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as told:
        open_data(source, digits)
    assert "\n" not in str(told.value)
