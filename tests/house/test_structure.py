"""The house: arrows run down, no circles, leaves stay apart, and methods are named nowhere but in their files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import ROOT
from xai.explainers.base import explainers
from xai.measures.base import measures
from xai.robustness.alarms.base import alarms
from xai.robustness.corruptions.base import corruptions
from xai.robustness.ood.detectors.base import detectors

WINGS = {"xai": "xai", "models": "xai.models", "reports": "xai.reports", "robustness": "xai.robustness"}
FLOORS = {
    "xai.cli": 6,
    "xai.api": 6,
    "xai.ood": 6,
    "xai.engine": 5,
    "xai.explainers": 4,
    "xai.measures": 4,
    "xai.data": 4,
    "xai.robustness": 4,
    "xai.ascent": 3.5,  # what explainers share and only they need
    "xai.masking": 3.5,
    "xai.models": 3,
    "xai.reports": 3,
    "xai.runtime": 2,
    "xai.registry": 2,
    "xai.errors": 1,
    "xai.text": 1,
    "xai.version": 1,
}
FAMILIES = (
    "xai.explainers",
    "xai.measures",
    "xai.robustness.alarms",
    "xai.robustness.attacks",
    "xai.robustness.bounds.methods",
    "xai.robustness.bounds.relaxations",
    "xai.robustness.ood.detectors",
    "xai.models.formats",
    "xai.data.kinds",
    "xai.reports.html.sections",
    "xai.robustness.corruptions",
)
NO_TORCH = ("xai.errors", "xai.text", "xai.registry", "xai.version", "xai.reports")


def files() -> dict[str, Path]:
    """Return every module's file by dotted name."""
    found = {}
    for folder, package in WINGS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


MODULES = files()


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, lazily or for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "import_module"
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.args[0].value


GRAPH = {name: {target for target in imports(path) if target in MODULES} for name, path in MODULES.items()}


def part(module: str) -> str | None:
    """Return the part of the house that a module belongs to; the top package itself belongs to none."""
    return next((name for name in FLOORS if module == name or module.startswith(f"{name}.")), None)


def is_leaf(module: str) -> bool:
    family = next((name for name in FAMILIES if module.startswith(f"{name}.")), None)
    return family is not None and module != f"{family}.base"


def test_every_module_has_a_floor() -> None:
    assert [module for module in MODULES if part(module) is None] == ["xai"]


@pytest.mark.parametrize("module", [name for name in MODULES if part(name)])
def test_imports_run_down_the_floors(module: str) -> None:
    own = part(module)
    for target in GRAPH[module]:
        other = part(target)
        if other is not None and own != other:
            assert FLOORS[other] < FLOORS[str(own)], f"{module} imports {target}"


def test_there_are_no_circles_of_imports() -> None:
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in finished:
            for target in GRAPH[module] - {"xai"}:
                visit(target, (*trail, module))
            finished.add(module)

    for module in MODULES:
        if module != "xai":
            visit(module, ())


def test_no_leaf_is_imported_by_anything() -> None:
    for module, targets in GRAPH.items():
        for target in targets:
            if is_leaf(target):
                pytest.fail(f"{module} imports the leaf {target}")


def test_no_method_is_named_outside_its_file() -> None:
    names = {*explainers.all(), *measures.all(), *corruptions.all(), *alarms.all(), *detectors.all()}
    for module, path in MODULES.items():
        if part(module) in ("xai.engine", "xai.cli", "xai.reports", "xai.api") and not is_leaf(module):
            words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            assert not words & names, f"{module} names {words & names}"


def test_reports_and_foundations_import_no_torch() -> None:
    for module, path in MODULES.items():
        if module.startswith(NO_TORCH):
            roots = {name.split(".")[0] for name in imports(path)}
            assert not roots & {"torch", "torchvision", "timm", "captum"}, module


def test_declared_dependencies_are_the_imported_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [
        *project["dependencies"],
        *project["optional-dependencies"]["timm"],
        *project["optional-dependencies"]["dicom"],
        *project["optional-dependencies"]["openvino"],
    ]
    declared = {re.split(r"[<>=\[ ]", line)[0].lower() for line in names}
    owners = packages_distributions()
    used = set()
    for path in MODULES.values():
        for name in imports(path):
            root = name.split(".")[0]
            if root not in sys.stdlib_module_names and root != "xai":
                used |= {owner.lower() for owner in owners[root]}
    # markupsafe is jinja2's own half, mlflow-skinny mlflow's; torch.onnx.export imports onnxscript.
    assert used - {"markupsafe", "mlflow", "mlflow-skinny"} | {"onnxscript"} == declared


def test_security_lower_bounds_are_declared() -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = dict(line.split(">=") for line in lines)
    for name, least in {"torch": (2, 10), "pillow": (13, 0), "jinja2": (3, 1, 6), "onnx": (1, 21)}.items():
        assert tuple(map(int, bounds[name].split("."))) >= least


def test_the_wheel_holds_the_files_of_the_tree(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    copy = tmp_path / "tree"
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        "/".join((*WINGS[path.parts[0]].split("."), *path.parts[1:]))
        for path in map(Path, tracked.stdout.splitlines())
        if path.parts[0] in WINGS and (ROOT / path).is_file()
    }
    assert held == expected
