"""The graph of a torch.export file, built anew from an allow-list.

torch's own reader (torch.export.load) looks any dotted name up in torch, `operator` and `math`, evaluates expressions,
and unpickles. So a file could call what it likes. Here every operator is looked up in a list, and names of the file
are only ever labels: fx writes names into Python code that it then runs.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import fx, nn

from xai.models.program import LARGEST, Program

DTYPES: dict[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
    28: torch.uint16,
    29: torch.float8_e4m3fn,
    30: torch.float8_e5m2,
    31: torch.float8_e4m3fnuz,
    32: torch.float8_e5m2fnuz,
    33: torch.float8_e8m0fnu,
    34: torch.uint32,
    35: torch.uint64,
}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_NUMBERS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}  # as the format writes them

# No power and no shift: either makes a number that fills the memory out of two small ones.
_ARITHMETIC = ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pos", "eq", "ne", "lt", "le", "gt", "ge")
_SYMBOLIC: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (*_ARITHMETIC, "and_", "or_")},
    **{f"math.{name}": getattr(math, name) for name in ("trunc", "ceil", "floor")},
    **{f"torch.sym_{name}": getattr(torch, f"sym_{name}") for name in ("int", "float", "not", "ite", "max", "min")},
}
_ASSERTIONS = frozenset(
    f"torch.ops.aten.{name}"
    for name in (
        "_assert_scalar.default",
        "_assert_tensor_metadata.default",
        "_assert_async.msg",
        "sym_constrain_range.default",
        "sym_constrain_range_for_size.default",
    )
)
_QUANTISED = re.compile(r"torch\.ops\.quantized_decomposed\.(de)?quantize_per_(tensor|channel)\.(default|tensor)")
_ATEN = re.compile(r"torch\.ops\.aten\.([a-z0-9_]+)\.([A-Za-z0-9_]+)")
# Operators whose names begin with an underscore are torch's own parts: few of them check what they are given.
_INTERNAL = re.compile(
    r"_(adaptive_avg_pool[23]d|cdist_forward|convolution|fft_(c2c|c2r|r2c)|(log_|safe_)?softmax|native_batch_norm_legit|"
    r"native_batch_norm_legit_(no_training|functional)|prelu_kernel|reshape_alias|scaled_dot_product_attention_math|"
    r"scaled_dot_product_flash_attention_for_cpu|to_copy|trilinear|unsafe_index|unsafe_view|upsample_bi(cubic|linear)2d_aa|"
    r"upsample_nearest_exact[123]d|weight_norm(_interface)?)"
)
# What reads or writes files, changes a tensor's storage, or works on kinds of tensors that a network's file has not.
_FORBIDDEN = re.compile(
    r"from_file|save|set_?|set_data|resize.*|record_stream|pin_memory|requires_grad_|.*backward.*|.*overrideable|"
    r".*sparse.*|.*nested.*|.*padded_tensor|.*mkldnn.*|cudnn_.*|miopen_.*|fbgemm_.*|fused_.*|quantized?_.*|.*_quantized|"
    r"choose_qparams.*|segment_reduce|embedding_renorm_?|.*_?values|.*col_indices.*|.*row_indices.*"
)
_NUMBERS_OF_TENSORS = frozenset(("sym_size", "sym_numel", "sym_stride", "item"))


class ExportError(ValueError):
    """Why a file's graph cannot be built."""


class Size(BaseModel):
    """A size: a number, or an expression of which only the value in the example counts."""

    as_int: int | None = None
    as_expr: dict[str, Any] | None = None

    @property
    def example(self) -> int:
        """Its value in the example that was exported."""
        if self.as_int is not None:
            return self.as_int
        hint = ((self.as_expr or {}).get("hint") or {}).get("as_int")
        if not isinstance(hint, int):
            raise ExportError("a size is an expression without a value")
        return hint


class TensorMeta(BaseModel):
    """What a tensor of the file is."""

    dtype: int
    sizes: list[Size]
    strides: list[Size]
    storage_offset: Size
    layout: int = 7


class _Named(BaseModel):
    name: str
    arg: dict[str, Any]


class _Node(BaseModel):
    target: str
    inputs: list[_Named]
    outputs: list[dict[str, Any]]
    metadata: dict[str, str] = Field(default_factory=dict)


class _Graph(BaseModel):
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    nodes: list[_Node]
    tensor_values: dict[str, TensorMeta]


class _Signature(BaseModel):
    input_specs: list[dict[str, dict[str, Any]]]
    output_specs: list[dict[str, dict[str, Any]]]


class _GraphModule(BaseModel):
    graph: _Graph
    signature: _Signature


class ExportedProgram(BaseModel):
    """What the format's JSON says, as far as it is needed; all of it is data."""

    graph_module: _GraphModule

    @property
    def tensors(self) -> dict[str, str]:
        """The kind ("parameter", "buffer" or "tensor_constant") of every tensor that the graph reads, by its name."""
        return {name: kind for kind, _, name in map(_input, self.graph_module.signature.input_specs) if name}

    @property
    def input(self) -> TensorMeta:
        """What the one input is; raises ExportError if there is not one."""
        names = [arg for kind, arg, _ in map(_input, self.graph_module.signature.input_specs) if kind == "user_input"]
        if len(names) != 1:
            raise ExportError(f"it takes {len(names)} inputs ({', '.join(names)}); expected one tensor")
        return self.graph_module.graph.tensor_values[names[0]]


def network(program: ExportedProgram, tensors: Mapping[str, torch.Tensor]) -> Program:
    """Return the program as a module.

    Args:
        program: as read.
        tensors: every tensor that it reads, by name; parameters are of that type.

    Raises:
        ExportError: it calls what is not allowed, was exported in training mode, or makes no sense.
    """
    builder = _Builder(tensors)
    graph = program.graph_module.graph
    for spec in program.graph_module.signature.input_specs:
        builder.add_input(*_input(spec))
    for node in graph.nodes:
        builder.add_node(node)
    kinds = [next(iter(spec), "") for spec in program.graph_module.signature.output_specs]
    if len(kinds) != len(graph.outputs):
        raise ExportError("its signature does not fit its outputs")
    outputs = [builder.value(out) for kind, out in zip(kinds, graph.outputs, strict=True) if kind == "user_output"]
    if len(outputs) != 1 or not isinstance(outputs[0], fx.Node):
        raise ExportError(f"the network returns {len(outputs)} values; expected one tensor (batch, classes)")
    builder.graph.output(outputs[0])
    builder.graph.eliminate_dead_code()
    builder.graph.lint()
    return Program(fx.GraphModule(builder.root, builder.graph))


def is_quantised(program: Program) -> bool:
    """Say whether a network rounds its values to whole numbers."""
    return any(str(node.target).startswith("quantized_decomposed.quantize") for node in program.program.graph.nodes)


def _input(spec: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    """Return an input's kind, the name of its value in the graph, and its name in the source; "" for none."""
    ((kind, content),) = spec.items()
    if kind in ("parameter", "buffer", "tensor_constant"):
        return kind, str(content["arg"]["name"]), str(content[f"{kind}_name"])
    if kind == "user_input" and "as_tensor" in content["arg"]:
        return kind, str(content["arg"]["as_tensor"]["name"]), ""
    if kind == "constant_input" or (kind == "user_input" and not set(content["arg"]) & {"as_sym_int", "as_custom_obj"}):
        return "constant", "", ""  # an argument that has become part of the graph
    raise ExportError(f"it takes an input of the kind {kind}; expected tensors")


class _Builder:
    """Writes the graph, node by node.

    Args:
        tensors: by name.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self._tensors = tensors
        self._values: dict[str, fx.Node] = {}

    def add_input(self, kind: str, arg: str, name: str) -> None:
        """Add an input of the signature: the network's own input, or a tensor that it holds."""
        if kind == "user_input":
            self._values[arg] = self.graph.placeholder("x")
        elif name:
            target = _install(self.root, name, self._tensors[name])
            self._values[arg] = self.graph.get_attr(target)

    def add_node(self, node: _Node) -> None:
        """Add a call."""
        if node.target in _ASSERTIONS:
            return
        target = resolved(node.target)
        given = [(each.name, self.value(each.arg)) for each in node.inputs]
        if isinstance(target, torch._ops.OpOverload):
            args, kwargs = _bound(target, dict(given))
            _check_evaluating(target, dict(given))
        else:
            args, kwargs = tuple(value for _, value in given), {}
        if target is torch.ops.aten.slice.Tensor and _is_whole(dict(given)):  # an export of a bounded batch has it not
            self._note(node.outputs[0], args[0])
            return
        made = self.graph.call_function(target, args, kwargs)
        made.meta["nn_module_stack"] = _stack(node.metadata.get("nn_module_stack", ""))
        self._name_outputs(node.outputs, made)

    def value(self, arg: Mapping[str, Any]) -> Any:
        """Return the value of an argument."""
        ((kind, value),) = arg.items()
        if kind not in _VALUES:
            raise ExportError(f"an argument of the kind {kind.removeprefix('as_')[:40]!r} is not allowed")
        return _VALUES[kind](self, value)

    def node(self, arg: Mapping[str, Any]) -> fx.Node:
        """Return the node that a name stands for."""
        name = str(arg.get("name", arg.get("as_name")))
        if name not in self._values:
            raise ExportError(f"{name[:60]!r} is used and never computed")
        return self._values[name]

    def _name_outputs(self, outputs: Sequence[Mapping[str, Any]], made: fx.Node) -> None:
        """Note under which names a node's results are known; several are taken out of it one by one."""
        if len(outputs) == 1 and not isinstance(next(iter(outputs[0].values())), list):
            self._note(outputs[0], made)
            return
        items = outputs[0]["as_tensors"] if len(outputs) == 1 else outputs
        for index, item in enumerate(items):
            if isinstance(item, dict) and "as_none" not in item:
                part = self.graph.call_function(operator.getitem, (made, index))
                part.meta["nn_module_stack"] = made.meta["nn_module_stack"]
                self._note(item, part) if "as_tensors" not in item else self._name_outputs([item], part)

    def _note(self, output: Mapping[str, Any], node: fx.Node) -> None:
        inner = output if "name" in output else next(iter(output.values()))
        self._values[str(inner.get("name", inner.get("as_name")))] = node


def _sizes(builder: _Builder, values: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [builder.node(value) if "as_name" in value else next(iter(value.values())) for value in values]


def _float(_: _Builder, value: Any) -> float:
    return _NUMBERS[value] if isinstance(value, str) else float(value)


def _optional(builder: _Builder, value: Mapping[str, Any]) -> fx.Node | None:
    return builder.node(value["as_tensor"]) if "as_tensor" in value else None


def _whole(_: _Builder, value: Any) -> int:
    return operator.index(value)


def _text(_: _Builder, value: Any) -> str:
    return str(value)


def _symbolic(builder: _Builder, value: Mapping[str, Any]) -> Any:
    return _sizes(builder, [value])[0]


def _each(function: Callable[[_Builder, Any], Any]) -> Callable[[_Builder, Any], list[Any]]:
    return lambda builder, values: [function(builder, value) for value in values]


_VALUES: dict[str, Callable[[_Builder, Any], Any]] = {
    "as_none": lambda *_: None,
    "as_tensor": _Builder.node,
    "as_tensors": _each(_Builder.node),
    "as_nested_tensors": _each(_each(_Builder.node)),
    "as_optional_tensor": _optional,
    "as_optional_tensors": _each(_optional),
    "as_int": _whole,
    "as_ints": _each(_whole),
    "as_float": _float,
    "as_floats": _each(_float),
    "as_bool": lambda _, value: bool(value),
    "as_bools": _each(lambda _, value: bool(value)),
    "as_complex": lambda _, value: complex(value["real"], value["imag"]),
    "as_string": _text,
    "as_strings": _each(_text),
    **dict.fromkeys(("as_sym_int", "as_sym_float", "as_sym_bool"), _symbolic),
    **dict.fromkeys(("as_sym_ints", "as_sym_floats", "as_sym_bools"), _sizes),
    "as_scalar_type": lambda _, value: DTYPES[value],
    "as_memory_format": lambda _, value: _MEMORY_FORMATS[value],
    "as_layout": lambda _, value: {7: torch.strided}[value],
    "as_device": lambda *_: torch.device("cpu"),  # wherever it was exported, it is read on the CPU
}


def resolved(target: str) -> Any:
    """Return the operator of that name; raise ExportError if it is not on the list."""
    if target in _SYMBOLIC:
        return _SYMBOLIC[target]
    if _QUANTISED.fullmatch(target):
        return _quantised(target)
    found = _ATEN.fullmatch(target)
    name, overload = found.groups() if found else ("", "")
    packet = getattr(torch.ops.aten, name, None) if _is_allowed(name) else None
    known = isinstance(packet, torch._ops.OpOverloadPacket) and overload in packet.overloads()
    resolved = getattr(packet, overload) if known else None
    if not isinstance(resolved, torch._ops.OpOverload) or not _is_pure(resolved):
        raise ExportError(
            f"it calls {target[:80]!r}, which is none of the operators that a file may call; export a network that is "
            "made of torch's own functions"
        )
    return resolved


def _quantised(target: str) -> Any:
    """Return one of the operators that quantise and dequantise; torch registers them when they are imported."""
    import torch.ao.quantization.fx._decomposed

    name, overload = target.split(".")[-2:]
    return getattr(getattr(torch.ops.quantized_decomposed, name), overload)


def _is_allowed(name: str) -> bool:
    internal = name.startswith("_") and not _INTERNAL.fullmatch(name)
    return bool(name) and not internal and not _FORBIDDEN.fullmatch(name)


def _is_pure(target: torch._ops.OpOverload) -> bool:
    """Say whether an operator makes tensors out of tensors and numbers; what only TorchScript knows is none."""
    schema = target._schema
    gives = {str(each.type) for each in schema.returns}
    tensors = bool(gives) and gives <= {"Tensor", "List[Tensor]"}
    asks = any(argument.is_out or argument.name == "filename" for argument in schema.arguments)
    counts = schema.name.removeprefix("aten::") in _NUMBERS_OF_TENSORS
    full = f"{schema.name}.{schema.overload_name}".rstrip(".")
    return (tensors or counts) and not asks and torch._C._dispatch_has_kernel(full)


def _bound(target: torch._ops.OpOverload, given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments in the operator's order."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for place, parameter in enumerate(target._schema.arguments):
        if parameter.name not in given:
            continue
        if parameter.kwarg_only or len(args) < place:
            kwargs[parameter.name] = given[parameter.name]
        else:
            args.append(given[parameter.name])
    if len(args) + len(kwargs) != len(given):
        raise ExportError(f"{target} has no argument {next(iter(set(given) - set(kwargs)))[:40]!r}")
    return tuple(args), kwargs


def _is_whole(given: Mapping[str, Any]) -> bool:
    """Say whether a slice takes all there is."""
    start, end, step = given.get("start"), given.get("end"), given.get("step", 1)
    return start in (None, 0) and (end is None or (type(end) is int and end >= LARGEST - 1)) and step == 1


def _check_evaluating(target: torch._ops.OpOverload, given: Mapping[str, Any]) -> None:
    """Refuse what a network only does while it is trained."""
    values = {each.name: given.get(each.name, each.default_value) for each in target._schema.arguments}
    normalising = "running_mean" in values and values["running_mean"] is not None and values.get("training")
    drawing = torch.Tag.nondeterministic_seeded in target.tags and not _is_quiet(values)
    if normalising or drawing:
        raise ExportError(
            f"exported in training mode (it calls {target._schema.name.replace('::', '.')}"
            f"{' with training=True' if normalising else ''}): call net.eval() before torch.export.export"
        )


def _is_quiet(values: Mapping[str, Any]) -> bool:
    """Say whether an operator that may draw random numbers draws none with these arguments."""
    learning = values.get("train", values.get("training"))
    return learning is False or not values.get("dropout_p", True)


def _install(root: nn.Module, name: str, tensor: torch.Tensor) -> str:
    """Put a tensor where its name says, and return that place; the name's parts are made into plain words."""
    *owners, leaf = ("tensors", *(re.sub(r"\W", "_", part, flags=re.ASCII) or "_" for part in name.split(".")))
    module = root
    for owner in owners:
        if owner not in module._modules:
            module.add_module(owner, nn.Module())
        module = module.get_submodule(owner)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(leaf, tensor)
    else:
        module.register_buffer(leaf, tensor)
    return ".".join((*owners, leaf))


def _stack(text: str) -> dict[str, tuple[str, str]]:
    """Return the modules that a node stood in, of "key,path,class;key,path,class", as torch.export keeps them."""
    parts = [_fields(item) for item in text.split(";") if item]
    return {
        key: (f"network.{path}" if path else "network", kind)
        for key, path, kind in (part for part in parts if len(part) == 3)
        if not key.startswith("_empty_nn_module_stack")
    }


def _fields(item: str) -> list[str]:
    """Return what the commas divide, those aside after which a bracket closes that was opened before them."""
    found, end, inside = [], len(item), False
    for sign in reversed(list(re.finditer(r"[\[\](),]", item))):  # backwards, so that each is looked at once
        if sign[0] != ",":
            inside = sign[0] in "])"
        elif not inside:
            found.append(item[sign.end() : end])
            end = sign.start()
    return [*found, item[:end]][::-1]
