"""The card: what a model file does not say of itself (input, classes, meaning of the output)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from xai.errors import RefusedFileError, UsageError

MAX_BYTES = 16 * 2**20
MAX_NUMBERS = 2**26  # of one input


def _plain(value: Any) -> Any:
    """Pass a number on; a text or a truth value is none, whatever it could be read as."""
    if isinstance(value, str | bool):
        raise ValueError(f"expected a number, received {value!r}")  # noqa: TRY004  # the one that pydantic collects
    return value


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a text or a number, received {value!r}")  # noqa: TRY004  # as above
    return value


def _one_or_several(number: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [number, {"type": "array", "items": number, "minItems": 1}]})


Real = Annotated[float, BeforeValidator(_plain)]
Size = Annotated[int, BeforeValidator(_plain), WithJsonSchema({"type": "integer", "minimum": 1})]
Numbers = Annotated[tuple[Real, ...], _one_or_several({"type": "number"})]
Positive = Annotated[tuple[Real, ...], _one_or_several({"type": "number", "exclusiveMinimum": 0})]
Figure = Annotated[str | int | float, BeforeValidator(_no_truth)]
NAMEABLE = ("torchvision:", "timm:", "sample:")  # architectures that a card may name: no code of a user's
Library = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^(torchvision|timm|sample):"})]


class Input(BaseModel):
    """The tensor that the model takes, in input units; every field says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape: tuple[Size, ...] = Field(
        min_length=1,
        max_length=8,
        description="shape of one input, without the batch: [channels, height, width] of a picture, or any other",
    )
    range: tuple[Real, Real] | None = Field(
        default=(0.0, 1.0),
        description="lowest and highest value of an input; a picture's pixels are mapped onto it. null where no limit "
        "is known, the default for what is no picture",
    )
    layout: Literal["channels first", "channels last"] = Field(
        default="channels first",
        description="where the network itself has the channels of a picture; shape names them first in either case",
    )
    mean: Numbers = Field(
        default=(0.0,), description="subtracted inside the model, in units of the range: one number, or one a channel"
    )
    std: Positive = Field(
        default=(1.0,), description="divides inside the model, in units of the range: one number, or one a channel"
    )
    resize: Literal["stretch", "crop"] = Field(
        default="stretch",
        description="stretch to the shape, or crop: scale the shorter side to size / crop_fraction and cut the centre",
    )
    crop_fraction: Real = Field(
        default=1.0, gt=0, le=1, description="see resize; 0.875 scales to 256 and cuts 224 out of it"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] = Field(
        default="bilinear", description="how pixels are resampled"
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_single_numbers(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = {k: [v] if k in ("mean", "std") and isinstance(v, int | float) else v for k, v in data.items()}
        shape = fields.get("shape")
        if "range" not in fields and isinstance(shape, list | tuple) and len(shape) != 3:
            fields["range"] = None
        return fields

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.shape) < 1:
            raise ValueError(f"shape: expected positive sizes, received {list(self.shape)}")
        if math.prod(self.shape) > MAX_NUMBERS:
            raise ValueError(f"shape: expected at most {MAX_NUMBERS} numbers, received {list(self.shape)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.shape[0]):
                raise ValueError(f"{name}: expected 1 or {self.shape[0]} numbers, received {len(values)}")
        if min(self.std) <= 0:
            raise ValueError(f"std: expected positive numbers, received {list(self.std)}")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range: expected low < high, received {list(self.range)}")
        if self.layout == "channels last" and not self.is_picture:
            raise ValueError(f"layout: channels last is for (channels, height, width), received {list(self.shape)}")
        return self

    @property
    def is_picture(self) -> bool:
        """Whether an input has (channels, height, width)."""
        return len(self.shape) == 3

    @property
    def span(self) -> tuple[float, float]:
        """The range; where none is known, two standard deviations around the mean: what probes are drawn from."""
        if self.range is not None:
            return self.range
        mean, std = sum(self.mean) / len(self.mean), max(self.std)
        return mean - 2 * std, mean + 2 * std


class Lineage(BaseModel):
    """What a network was trained from, on and for; every field says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parent: str = Field(description="the model that training began with, as it was named")
    parent_fingerprint: str = Field(description="sha256 of its graph and weights; empty where it has none")
    data: str = Field(description="what it was trained on, as it was named")
    data_digest: str = Field(description="sha256 over every picture and label of the training data, in their order")
    images: int = Field(description="how many there were")
    objective: str = Field(description="what was minimised")
    parameters: dict[str, Figure | bool | None] = Field(default={}, description="of the objective and the optimiser")
    seed: int = Field(description="of everything random")
    version: str = Field(description="of the program that trained it")


class Card(BaseModel):
    """What is declared of a model; every field says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | None = Field(default=None, description="the model's name; else the file's")
    architecture: Library | None = Field(
        default=None,
        description="torchvision:NAME, timm:NAME or sample:NAME, for a file of weights; a card is data and can not "
        "name code",
    )
    task: Literal["classification"] = Field(default="classification", description="what the model does")
    output: Literal["logits", "probabilities", "values"] = Field(
        default="logits", description="what the outputs are: logits, probabilities (they sum to one) or values"
    )
    classes: tuple[str, ...] = Field(default=(), description="a name for each output, in their order")
    input: Input | None = Field(default=None, description="the tensor that the model takes")
    description: str = Field(default="", description="one or two sentences about the model")
    measured: dict[str, Figure] = Field(
        default={}, description="figures of whoever made the model: accuracy, on what, seed"
    )
    lineage: Lineage | None = Field(default=None, description="what it was trained from, on and for")

    @model_validator(mode="after")
    def _check(self) -> Self:
        name = self.architecture
        if name is not None and not name.startswith(NAMEABLE):
            raise ValueError(
                f"architecture: expected torchvision:NAME, timm:NAME or sample:NAME, received {name!r}; "
                "code is never run because a card asks for it: name it yourself with --arch"
            )
        return self


def one_line(error: ValidationError) -> str:
    """Say in one line where data and schema differ."""
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        parts.append(f"{where}: {problem['msg']}" if where else problem["msg"])
    return "; ".join(part.replace("Value error, ", "") for part in parts).replace("\n", " ")


class _Plain(yaml.SafeLoader):
    """Reads plain data; no aliases, by which a short text can stand for one that fills the memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a card: write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in found:
                raise yaml.YAMLError(f"{key.value[:60]!r} stands in it twice: keep the one that is meant")
            found |= {key.value} if isinstance(key.value, str) else set()
        return super().construct_mapping(node, deep)


def read_card(path: Path) -> dict[str, Any]:
    """Return the fields of a card file, checked; raise RefusedFileError if it is not one."""
    text = _read_text(path, "card")
    try:
        fields = yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RefusedFileError(f"card {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(fields, dict):
        raise RefusedFileError(f"card {path}: expected fields such as 'input: {{shape: [3, 224, 224]}}'")
    try:
        Card.model_validate(_with_shape(fields))
    except ValidationError as error:
        raise RefusedFileError(f"card {path} does not fit: {one_line(error)}") from error
    return fields


def _with_shape(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with a shape that fits them, where the model's file or its library is to bring it."""
    given = fields.get("input")
    if not isinstance(given, dict) or "shape" in given:
        return fields
    lists = [given[name] for name in ("mean", "std") if isinstance(given.get(name), list)]
    return {**fields, "input": {**given, "shape": [max(map(len, lists), default=1) or 1, 1, 1]}}


def read_labels(path: Path) -> tuple[str, ...]:
    """Return class names from a JSON list or a text file with one name a line."""
    text = _read_text(path, "label file")
    try:
        names = json.loads(text)
    except RecursionError:
        names = None
    except ValueError:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise RefusedFileError(f"label file {path}: expected one name a line, or a JSON list of names")
    return tuple(names)


def _read_text(path: Path, noun: str) -> str:
    """Return the text of a small file of the user's."""
    if not path.is_file():
        raise UsageError(f"{noun} {path} does not exist")
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFileError(f"{noun} {path} has {path.stat().st_size} bytes; expected at most {MAX_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedFileError(f"{noun} {path} cannot be read as text: {error}") from error
