"""Data sets: what is read one by one is read the same in shards, in parts, and by another process."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from tests.networks import Linear
from xai.api import load
from xai.data.dataset import DataSet, Shard, check_any_read, digest_of, open_data
from xai.data.samples import Sample
from xai.errors import RefusedFileError, UsageError
from xai.models.images import prepare
from xai.models.model import Model

RANDOM = np.random.default_rng(0)
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Linear((3, 12, 10)), shape=(3, 12, 10), classes=("cat", "dog", "cow"))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder a class: six cats, two dogs, one cow."""
    for name, count in (("cat", 6), ("dog", 2), ("cow", 1)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(count):
            draw(tmp_path / "pets" / name / f"{number:04}.png")
    return tmp_path / "pets"


@cache
def ranged(span: tuple[float, float]) -> Model:
    return load(Linear((3, 12, 10)), shape=(3, 12, 10), range=span)


def draw(path: Path, size: tuple[int, int] = (12, 10)) -> None:
    Image.fromarray(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def whole_digest(data: DataSet, size: int = 4) -> str:
    return digest_of(data.read_many(shard).digests for shard in data.shards(size))


def facts(sample: Sample) -> tuple[object, ...]:
    return sample.id, sample.source, sample.digest, sample.treatments, sample.label, sample.group


def same(one: Shard, other: Shard) -> bool:
    return list(map(facts, one.samples)) == list(map(facts, other.samples)) and torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.uint16])
@pytest.mark.parametrize("item", [(12, 10), (12, 10, 3), (3, 12, 10), (12, 10, 1), (12, 10, 4), (20, 7, 3), (3, 20, 7)])
@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 2.0), (0.0, 255.0)])
def test_what_is_read_together_is_bit_for_bit_what_prepare_gives(
    dtype: type, item: tuple[int, ...], span: tuple[float, float]
) -> None:
    taker = ranged(span)
    whole = np.issubdtype(dtype, np.integer)
    images = (
        RANDOM.integers(0, np.iinfo(dtype).max, (5, *item), dtype=dtype)
        if whole
        else RANDOM.uniform(*span, (5, *item)).astype(dtype)
    )
    try:
        data = open_data((images, None), taker)
    except UsageError:  # numbers in input units are never resized
        assert not whole
        assert item not in ((3, 12, 10), (12, 10, 3))
        return
    shard = data.read_many(range(5))
    last = not whole and item == (12, 10, 3)
    for index, image in enumerate(images):
        given = image.transpose(2, 0, 1) if last else image
        if shard.skipped:
            with pytest.raises(UsageError, match=re.escape(shard.skipped[index].reason)):
                prepare(given, taker.input)
            continue
        expected = prepare(given, taker.input)
        assert torch.equal(shard.inputs[index], expected.tensor)
        assert shard.samples[index].treatments[int(last) :] == expected.treatments
        assert facts(shard.samples[index]) == facts(data.read(index))


def test_samples_carry_label_group_and_a_stable_name(pets: Path, model: Model) -> None:
    data = open_data(pets, model)
    assert (len(data), data.kind, data.source) == (9, "folder", str(pets))
    assert [data.id(index) for index in (0, 5, 6, 7)] == ["cat/0000", "cat/0005", "cow/0000", "dog/0000"]
    sample = data.read(7)
    assert (sample.id, sample.label, sample.group) == ("dog/0000", 1, None)
    assert sample.source == str(pets / "dog" / "0000.png")
    assert sample.digest == hashlib.sha256((pets / "dog" / "0000.png").read_bytes()).hexdigest()
    assert torch.equal(sample.input, model.prepare(pets / "dog" / "0000.png").tensor)


def test_shards_cover_every_index_once_in_order(pets: Path, model: Model) -> None:
    data = open_data(pets, model)
    assert data.shards(4) == [range(4), range(4, 8), range(8, 9)]
    assert data.shards(100) == [range(9)]
    with pytest.raises(UsageError, match="at least 1 entry"):
        data.shards(0)
    for index in (-1, 9):
        with pytest.raises(UsageError, match=f"there is no entry {index}; .* has 9, from 0 to 8"):
            data.read(index)


def test_a_limited_folder_a_class_is_even_and_other_data_are_their_beginning(pets: Path, model: Model) -> None:
    data = open_data(pets, model)
    part = data.limited(5)
    assert [part.id(index) for index in range(5)] == ["cat/0000", "cat/0001", "cow/0000", "dog/0000", "dog/0001"]
    assert part.read(4).id == "dog/0001"
    assert part.notes[-1] == "5 of 9 entries were taken: the first of each class"
    assert data.limited(None) is data
    assert data.limited(9) is data
    assert [part.limited(2).id(index) for index in range(2)] == ["cat/0000", "dog/0000"]
    first = open_data(pets / "cat", model).limited(2)
    assert [first.id(index) for index in range(2)] == ["0000", "0001"]
    assert first.notes == ("2 of 6 entries were taken: the first",)
    with pytest.raises(UsageError, match="a limit of at least 1, received 0"):
        data.limited(0)


def test_the_digest_of_the_whole_does_not_depend_on_the_shards(pets: Path, model: Model) -> None:
    data = open_data(pets, model)
    before = whole_digest(data, 1)
    assert before == whole_digest(data, 4) == whole_digest(data, 100)
    shutil.move(pets, pets.parent / "moved")  # nor on where the data lie
    assert whole_digest(open_data(pets.parent / "moved", model)) == before


@pytest.mark.parametrize("change", ["a byte", "a label", "a name", "the order", "a broken file"])
def test_the_digest_changes_with(change: str, pets: Path, model: Model) -> None:
    (pets / "cat" / "broken.png").write_bytes(b"\x89PNG one")
    before, listed = whole_digest(open_data(pets, model)), open_data(pets, model).listing
    if change == "a byte":
        with (pets / "cat" / "0003.png").open("ab") as file:
            file.write(b"\0")
    elif change == "a label":
        (pets / "cat" / "0005.png").rename(pets / "cow" / "0005.png")
    elif change == "a name":
        (pets / "cat" / "0005.png").rename(pets / "cat" / "0006.png")
    elif change == "the order":
        for old, new in (("0000", "x"), ("0001", "0000"), ("x", "0001")):
            (pets / "cat" / f"{old}.png").rename(pets / "cat" / f"{new}.png")
    else:
        (pets / "cat" / "broken.png").write_bytes(b"\x89PNG two")
    after = open_data(pets, model)
    assert whole_digest(after) != before
    assert after.listing != listed


def test_the_digest_changes_with_the_labels_of_an_array(model: Model) -> None:
    images, labels = RANDOM.random((4, 3, 12, 10)), np.array([0, 1, 2, 0])
    before = whole_digest(open_data((images, labels), model))
    assert whole_digest(open_data((images.copy(), labels.copy()), model)) == before
    labels[3] = 1
    assert whole_digest(open_data((images, labels), model)) != before
    labels[3], images[2, 0, 0, 0] = 0, 0.5
    assert whole_digest(open_data((images, labels), model)) != before


def test_one_unreadable_file_is_skipped_and_listed(pets: Path, model: Model) -> None:
    (pets / "cat" / "0002.png").write_bytes((pets / "cat" / "0002.png").read_bytes()[:60])
    data = open_data(pets, model)
    shard = data.read_many(range(9))
    (skipped,) = shard.skipped
    assert (skipped.index, skipped.id, skipped.source) == (2, "cat/0002", str(pets / "cat" / "0002.png"))
    assert "damaged or cut short" in skipped.reason
    assert shard.indices == (0, 1, 3, 4, 5, 6, 7, 8)
    assert shard.labels == (0, 0, 0, 0, 0, 2, 1, 1)
    assert len(shard.digests) == 9 * 32
    for index, sample, tensor in zip(shard.indices, shard.samples, shard.inputs, strict=True):
        assert facts(sample) == facts(data.read(index))
        assert torch.equal(sample.input, tensor)
        assert torch.equal(tensor, data.read(index).input)
    check_any_read(data, shard.skipped)


def test_a_file_that_goes_away_after_opening_is_skipped(pets: Path, model: Model) -> None:
    data = open_data(pets, model)
    (pets / "cat" / "0001.png").unlink()
    (skipped,) = data.read_many(range(9)).skipped
    assert skipped.id == "cat/0001"
    assert "does not exist" in skipped.reason


def test_all_unreadable_is_refused_with_the_first_reason(tmp_path: Path, model: Model) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG no")
    data = open_data(tmp_path, model)
    shard = data.read_many(range(2))
    assert shard.inputs.shape == (0, 3, 12, 10)
    with pytest.raises(RefusedFileError, match=r"none of the 2 entries of .* could be read; the first, a: "):
        check_any_read(data, shard.skipped[::-1])


def test_values_outside_the_range_are_skipped_one_by_one(model: Model) -> None:
    images = RANDOM.random((4, 3, 12, 10)).astype(np.float32)
    images[0, 0, 0, 0], images[2, 1, 1, 1] = 1.5, np.nan
    shard = open_data((images, [0, 1, 2, 0]), model).read_many(range(4))
    assert shard.indices == (1, 3)
    assert torch.equal(shard.inputs, torch.from_numpy(images[[1, 3]]))
    assert [skipped.reason.split("[")[0] for skipped in shard.skipped] == [
        "the model takes values in ",
        "the input tensor holds NaN or infinite values",
    ]


def test_another_process_reads_the_same_from_a_pickle(tmp_path: Path, model: Model) -> None:
    np.save(tmp_path / "X.npy", RANDOM.random((50, 3, 12, 10)))
    np.save(tmp_path / "y.npy", np.arange(50) % 3)
    data = open_data(tmp_path / "X.npy", model)
    here = data.read_many(range(10, 20))
    assert len(pickle.dumps(data)) < 5000  # the numbers stay in their file
    there = pickle.loads(pickle.dumps(data)).read_many(range(10, 20))
    assert same(here, there)
    assert there.digests == here.digests


def test_labels_that_are_needed_are_asked_for(pets: Path, model: Model) -> None:
    open_data(pets, model).require_labels()
    with pytest.raises(UsageError, match=r"labels are needed, and the entries of .*cat have none; give a folder with"):
        open_data(pets / "cat", model).require_labels()
    (pets / "some.csv").write_text("path,label\ncat/0000.png,cat\ndog/0000.png,\n")
    some = open_data(pets / "some.csv", model)
    with pytest.raises(UsageError, match="1 of 2 entries"):
        some.require_labels()
    some.limited(1).require_labels()
    assert some.read_many(range(2)).labels == (0, None)


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    """Tensors with labels, of which one cannot be had."""

    def __init__(self, labels: list[object]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, object]:  # type: ignore[override]
        if self.labels[index] == "gone":
            raise KeyError("gone")
        return torch.full((3, 12, 10), index / 10), self.labels[index]


def test_a_torch_dataset_is_read_by_index(model: Model) -> None:
    data = open_data(Pairs([1, torch.tensor(2), "gone", "dog", np.int64(0)]), model)
    data.require_labels()
    shard = data.read_many(range(5))
    assert shard.labels == (1, 2, 1, 0)
    assert shard.inputs[:, 0, 0, 0].tolist() == pytest.approx([0, 0.1, 0.3, 0.4])
    assert [(one.id, one.reason) for one in shard.skipped] == [("item/2", "item 2 cannot be had: KeyError 'gone'")]
    for wrong, reason in ((3, "there is no class 3"), ("dgo", "did you mean 'dog'"), (0.5, "received '0.5'")):
        with pytest.raises(UsageError, match=reason):  # the data do not fit as a whole: not skipped
            open_data(Pairs([0, wrong]), model).read_many(range(2))


def test_lists_and_single_pictures_are_data_too(pets: Path, model: Model) -> None:
    picture = Image.open(pets / "dog" / "0000.png")
    expected = model.prepare(picture).tensor
    for one in (pets / "dog" / "0000.png", picture, np.asarray(picture), expected, expected[None].double()):
        data = open_data(one, model)
        assert len(data) == 1
        assert torch.equal(data.read_many(range(1)).inputs[0], expected)
    data = open_data([picture, (np.asarray(picture), "dog"), pets / "cat", str(pets / "dog" / "0000.png")], model)
    shard = data.read_many(range(len(data)))
    assert shard.labels == (None, 1, *[None] * 7)
    assert torch.equal(shard.inputs[[0, 1, 8]], torch.stack([expected] * 3))
    assert shard.samples[8].source == str(pets / "dog" / "0000.png")


def test_the_bundled_sample_brings_its_masks(shapes: Model) -> None:
    data = open_data("sample:shapes", shapes)
    sample = data.read(0)
    assert sample.id == "circle"
    assert sample.mask is not None
    assert 0 < sample.mask.mean() < 1
    with pytest.raises(UsageError, match="did you mean 'shapes'"):
        open_data("sample:shape", shapes)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("no/such/place", "data no/such/place do not exist"),
        ([], "holds nothing that could be read"),
        (7, "expected data as one of: .* received int"),
        ((np.zeros((2, 3, 12, 10)), [0]), "2 inputs and 1 labels"),
        ((np.zeros((2, 3, 12, 10)), [0, 3]), "labels of <tuple>: there is no class 3; the model has 3, from 0 to 2"),
        ((np.zeros((2, 3, 12, 10)), np.array([0, -1])), "there is no class -1"),
        ((np.zeros((2, 3, 12, 10)), np.array([0.5, 1])), "expected whole numbers as labels"),
        ((np.zeros((2, 3, 12, 10)), ["cat", "dgo"]), "there is no class 'dgo'; did you mean 'dog'"),
        (np.zeros((2, 3, 10, 12)), r"expected \(n, 3, 12, 10\) or \(n, 12, 10, 3\), received \(2, 3, 10, 12\)"),
        (np.array([None, "a"]), "Python objects"),
    ],
)
def test_what_does_not_fit_is_told(data: object, reason: str, model: Model) -> None:
    with pytest.raises(UsageError, match=reason):
        open_data(data, model)


def test_the_whole_of_mnist_is_read_as_it_is(data: Path) -> None:
    model = load(Linear((1, 28, 28), 10), shape=(1, 28, 28), classes=tuple("0123456789"))
    mnist = open_data(data / "vision" / "mnist", model)
    mnist.require_labels()
    shards = [mnist.read_many(shard) for shard in mnist.shards(1000)]
    labels = np.array([label for shard in shards for label in shard.labels])
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # LeCun's test set
    assert torch.cat([shard.inputs for shard in shards]).double().mean().item() == pytest.approx(0.1325, abs=1e-4)
    assert shards[0].samples[17].id == "t10k-images/17"
    assert same(shards[3], mnist._one_by_one(range(3000, 4000)))
    assert shards[3].digests == mnist._one_by_one(range(3000, 4000)).digests


def test_real_cifar_is_read_from_npy_and_from_folders(data: Path) -> None:
    model = load(Linear((3, 32, 32), 10), shape=(3, 32, 32), classes=CIFAR)
    raw = open_data(data / "vision" / "cifar10" / "abcrown_sdp_X.npy", model)
    raw.require_labels()
    array = np.load(data / "vision" / "cifar10" / "abcrown_sdp_X.npy")
    labels = np.load(data / "vision" / "cifar10" / "abcrown_sdp_y.npy")
    shard = raw.read_many(range(200))
    assert np.array_equal(shard.inputs.numpy(), array.transpose(0, 3, 1, 2))
    assert shard.labels == tuple(labels.tolist())
    folders = open_data(data / "vision" / "cifar10" / "jpg_test", model).limited(20)
    assert folders.read_many(range(20)).labels == tuple(np.repeat(range(10), 2).tolist())
