"""Where an ONNX file has the channels of its pictures: as its graph shows, else as its sizes suggest."""

from __future__ import annotations

from xai.models.formats.base import Reading
from xai.models.onnx.reading import OnnxFile, attributes

PICTURE = 8  # rows and columns that a picture has at least
_CHANNELS = (1, 2, 3, 4)
_PLACEWISE = frozenset(("Add", "Cast", "Clip", "Div", "Identity", "Mul", "Neg", "Pad", "Pow", "Sub"))
_CHANNELS_FIRST = frozenset(
    ("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
)  # by ONNX's definition of them
_ORDERS = {(0, 3, 1, 2): "channels last", (0, 2, 3, 1): "channels first"}


def readings(file: OnnxFile) -> tuple[Reading, ...]:
    """Return the ways to read a file's input as a picture, the likeliest first; none if it has not three axes."""
    sizes = file.input.shape[1:] if file.input.shape else ()
    if len(sizes) != 3:
        return ()
    shapes = {"channels first": sizes, "channels last": (sizes[2], *sizes[:2])}
    seen = _seen(file)
    likely = seen or ("channels last" if sizes[2] in _CHANNELS and sizes[0] not in _CHANNELS else "channels first")
    names = "rows, columns, channels" if likely == "channels last" else "channels, rows, columns"
    is_clear = bool(seen) or sizes[0] in _CHANNELS or not any(is_picture(shape) for shape in shapes.values())
    why = f"the file's input {sizes} is taken for ({names}), a guess by its sizes; card field: input.layout"
    first = Reading(likely, shapes.pop(likely), "" if is_clear else why)
    return (first, *(Reading(layout, shape) for layout, shape in shapes.items()))


def is_picture(shape: tuple[int | None, ...]) -> bool:
    """Say whether a shape (channels, rows, columns) may be a picture's."""
    return len(shape) == 3 and all(size is None or size >= PICTURE for size in shape[1:])


def _seen(file: OnnxFile) -> str:
    """Return the layout that the first operators that tell axes apart take the input for, "" if they do not agree."""
    reached, found = {file.input.name}, set()
    for node in file.model.graph.node:
        if reached.isdisjoint(node.input):
            continue
        if node.op_type in _PLACEWISE:
            reached.update(node.output)
        elif node.op_type in _CHANNELS_FIRST:
            found.add("channels first" if node.input[0] in reached else "")
        elif node.op_type == "Transpose":
            found.add(_ORDERS.get(tuple(attributes(node, file.path).get("perm", ())), ""))
    return found.pop() if len(found) == 1 else ""
