"""Bad input through the command line: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.networks import Linear, Tuple
from xai.cli.main import run
from xai.data.samples import SUFFIXES
from xai.reports.folder import open_run

ARCH = """
import torch
from torch import nn

from tests.networks import Linear, Tuple

def make(classes=3):
    return Linear(classes=classes)

def tuple_of_two():
    return Tuple()

def broken():
    raise ValueError("no such luck")

def number():
    return 7

def leave():
    raise SystemExit(7)

class Whole(Linear):
    def forward(self, x):
        return super().forward(x).round().long()

def whole():
    return Whole()
"""
CARD = "input: {shape: [3, 12, 10]}\nclasses: [a, b, c]\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: a picture, an architecture, a state dict with its card."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("image.png")
    Path("net.py").write_text(ARCH)
    torch.save(Linear().state_dict(), "model.pt")
    Path("model.yaml").write_text(CARD)
    return tmp_path


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def xai(place: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line that must fail; return exit code and the one line on stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        before = sorted(place.rglob("*"))
        code = run(["explain", *arguments])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert captured.out == ""
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.err
        left = [path for path in sorted(place.rglob("*")) if path not in before and "__pycache__" not in path.parts]
        assert left == [], "something was left behind"
        return code, lines[0]

    return call


def test_what_is_right_works(place: Path) -> None:
    assert run(["explain", "model.pt", "image.png", "--arch", "net.py:make", "-o", "out"]) == 0
    assert (place / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gone.pt", "image.png"], 2, "model gone.pt does not exist"),
        (["model.pt", "gone.png", "--arch", "net.py:make"], 2, "image gone.png does not exist"),
        (
            ["model.pt", "image.png"],
            2,
            "holds weights only (1 tensors: weight, ...); name its architecture with --arch",
        ),
        (["model.pt", "image.png", "--arch", "net.py:mak"], 2, "did you mean 'make'"),
        (["model.pt", "image.png", "--arch", "nett.py:make"], 2, "nett.py does not exist"),
        (["model.pt", "image.png", "--arch", "resnet18"], 2, "expected torchvision:NAME"),
        (["model.pt", "image.png", "--arch", "torchvision:resnet81"], 2, "did you mean 'resnet"),
        (["model.pt", "image.png", "--arch", "net.py:make(open('x'))"], 2, "expected arguments such as"),
        (["model.pt", "image.png", "--arch", "net.py:broken"], 4, "ValueError: no such luck"),
        (["model.pt", "image.png", "--arch", "net.py:number"], 4, "returned int; expected a torch.nn.Module"),
        (["model.pt", "image.png", "--arch", "torchvision:resnet18"], 4, "missing in the file: conv1.weight"),
        (
            ["model.pt", "image.png", "--arch", "net.py:make(classes=5)"],
            4,
            "weight is (5, 3, 12, 10) in the architecture",
        ),
        (["model.pt", "image.png", "--arch", "net.py:make", "--target", "d"], 2, "there is no class 'd'"),
        (
            ["model.pt", "image.png", "--arch", "net.py:make", "--target", "3"],
            2,
            "there is no class 3; the model has 3",
        ),
        (["model.pt", "image.png", "--arch", "net.py:make", "--layer", "convv"], 2, "no layer 'convv'"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--methods", "gradcan"], 2, "did you mean 'gradcam'"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--device", "tpu"], 2, "no device 'tpu'"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--set", "occlusion"], 2, "expected METHOD.PARAM=VALUE"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--set", "occlusion.x=1"], 2, "no parameter of occlusion"),
        (
            ["model.pt", "image.png", "--arch", "net.py:make", "--set", "nothing.x=1"],
            2,
            "no method or measure",
        ),
        (["model.pt", "image.png", "--arch", "net.py:make", "--labels", "gone.txt"], 2, "gone.txt does not exist"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--top", "4"], 2, "the 4 highest outputs"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--top", "0"], 2, "the 0 highest outputs"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--top", "2", "--target", "a"], 2, "name one of them"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--masks", "gone"], 2, "gone is not a folder of masks"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--measures", "deletoin"], 2, "did you mean 'deletion'"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--methods", "none"], 2, "no method was named"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--labels", "net.py"], 4, "class names were given"),
        (["model.pt", "image.png", "--arch", "net.py:make", "--card", "net.py"], 4, "card net.py"),
        (["sample:shape", "image.png"], 2, "did you mean 'shapes'"),
        (["torchvision:resnet81", "image.png"], 2, "did you mean"),
        (["model.pt", "image.png", "--no-such-option"], 2, "No such option"),
        (["model.pt"], 2, "IMAGE"),
        (["sample:shapes", "image.png", "--arch", "torchvision:resnet18"], 2, "sample:shapes brings its own"),
        (["sample:shapes", "image.png", "--card", "gone.yaml"], 2, "gone.yaml does not exist"),
        (["sample:shapes", "image.png", "--methods", ""], 2, "there is no method ''"),
        (["sample:shapes", "image.png", "--seed", "-1"], 2, "--seed"),
        (["sample:shapes", "image.png", "--seed", "9" * 30], 2, "--seed"),
        (["sample:shapes", "image.png", "--device", "cpu:foo"], 2, "no device 'cpu:foo'"),
        (["sample:shapes", "a" * 300 + ".png"], 2, "too long"),
        (["/dev/null", "image.png"], 2, "neither a file nor a folder"),
        (["sample:shapes", "image.png", "-o", "."], 2, "the working folder"),
        (["model.pt", "image.png", "--arch", "net.py:leave"], 4, "SystemExit"),
        (["model.pt", "image.png", "--arch", "net.py:whole"], 4, "returns whole numbers"),
    ],
)
def test_wrong_requests(xai: Call, arguments: list[str], code: int, words: str) -> None:
    received, line = xai(*arguments)
    assert words in line
    assert received == code


def _cut(path: str) -> bytes:
    content = Path(path).read_bytes()
    return content[: len(content) // 2]


def _safetensors() -> bytes:
    save_file({"weight": Linear().weight.detach()}, "whole.safetensors")
    content = Path("whole.safetensors").read_bytes()
    Path("whole.safetensors").unlink()
    return content


def _script() -> bytes:
    torch.jit.save(torch.jit.trace(Linear(), torch.rand(1, 3, 12, 10)), "script.pt")
    content = Path("script.pt").read_bytes()
    Path("script.pt").unlink()
    return content


class Evil:
    """Would leave a marker if it were unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch marker",))


def _pickled(content: object) -> bytes:
    torch.save(content, "pickled.pt")
    written = Path("pickled.pt").read_bytes()
    Path("pickled.pt").unlink()
    return written


def _array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _arrays(*arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays, allow_pickle=True)
    return buffer.getvalue()


def _zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner.npz", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "is empty"),
        (lambda: _cut("model.pt"), "damaged or cut short"),
        (lambda: _safetensors()[:200], "damaged or cut short"),
        (lambda: _script()[:500], "damaged or cut short"),
        (lambda: Path("image.png").read_bytes(), "is a PNG picture; expected one of"),
        (lambda: b"hello, I am text\n" * 9, "of an unknown kind; expected one of"),
        (lambda: _pickled(Linear()), "save net.state_dict() instead"),
        (lambda: _pickled({"state_dict": Evil()}), "(posix.system), and opening them could run code"),
        (lambda: pickle.dumps(Evil()), "a pickle of Python objects (posix.system)"),
        (lambda: _pickled([1, 2]), "expected tensors by name"),
        (lambda: _pickled({"weight": torch.full((3, 3, 12, 10), torch.nan)}), "1080 of 1080 numbers in weight are NaN"),
    ],
)
def test_wrong_model_files(xai: Call, place: Path, content: Callable[[], bytes], words: str) -> None:
    (place / "model.pt").write_bytes(content())
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make")
    assert words in line
    assert code == 4
    assert not (place / "marker").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "is empty"),
        (lambda: _cut("image.png"), "damaged or cut short"),
        (lambda: Path("model.pt").read_bytes(), "expected one tensor, as torch.save writes it, received OrderedDict"),
        (lambda: _pickled(Evil()), "(posix.system), and opening them could run code"),
        (lambda: pickle.dumps(Evil()), "is not a picture"),
        (lambda: _array(np.array([Evil()], dtype=object)), "it holds Python objects (dtype object)"),
        (lambda: _arrays(np.array([Evil()], dtype=object)), "it holds Python objects (dtype object)"),
        (lambda: _arrays(np.zeros((3, 12, 10)), np.zeros(1)), "expected one array, received 2: arr_0, arr_1"),
        (lambda: _zipped(_arrays(np.zeros((3, 12, 10)))), "is a zip archive that holds no array"),
        (lambda: _array(np.zeros((3, 12, 11))), "takes inputs of shape (3, 12, 10), received a tensor of (3, 12, 11)"),
        (lambda: _array(np.full((3, 12, 10), 2.0)), "the model takes values in [0, 1], received [2, 2]"),
        (lambda: _array(np.zeros((3, 12, 10)))[:-1], "damaged or cut short"),
        (lambda: b"GIF89a" + bytes(100), "is not a picture"),
    ],
)
def test_wrong_images(xai: Call, place: Path, content: Callable[[], bytes], words: str) -> None:
    (place / "other.png").write_bytes(content())
    code, line = xai("model.pt", "other.png", "--arch", "net.py:make")
    assert words in line
    assert code == 4
    assert not (place / "marker").exists()


def test_what_is_no_file_is_not_waited_for(xai: Call, place: Path) -> None:
    os.mkfifo("pipe.png")
    for name in ("pipe.png", "/dev/zero"):
        assert xai("model.pt", name, "--arch", "net.py:make") == (
            2,
            f"error: image {name} does not exist, or is no file",
        )


def test_a_picture_bomb_is_refused(xai: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make")
    assert "too large" in line
    assert code == 4


def test_a_picture_of_20000_x_20000_is_refused_unread(xai: Call, place: Path) -> None:
    rows = zlib.compress(bytes(20001) * 20000, 1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    framed = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks]
    (place / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    tracemalloc.start()
    code, line = xai("model.pt", "huge.png", "--arch", "net.py:make")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "huge.png is too large" in line
    assert code == 4
    assert peak < 100 * 2**20


def test_one_pixel_is_a_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (1, 1), (10, 200, 30)).save("dot.png")
    arguments = ["--arch", "net.py:make", "--methods", "all", "--measures", "all", "-o", "out"]
    assert run(["explain", "model.pt", "dot.png", *arguments, "--set", "lime.samples=50"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    statuses = {finding.method: finding.status for finding in open_run(place / "out").findings}
    assert statuses["occlusion"] == "ok"
    assert "failed" not in statuses.values()


def test_an_animation_is_its_first_frame_and_says_so(place: Path) -> None:
    frames = [Image.new("RGB", (10, 12), colour) for colour in ("red", "green", "blue")]
    frames[0].save("film.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert run(["explain", "model.pt", "film.webp", "--arch", "net.py:make", "-o", "out"]) == 0
    (record,) = open_run(place / "out").record.inputs
    assert "first of 3 frames" in record.treatments
    assert "first of 3 frames" in (place / "out" / "report.html").read_text()


def test_a_damaged_picture_among_good_ones_is_told_before_anything_is_computed(
    xai: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "scans").mkdir()
    shutil.copy("image.png", "scans/a.png")
    (place / "scans" / "b.png").write_bytes(_cut("image.png"))
    monkeypatch.setattr("xai.engine.explain.explain", lambda *_, **__: pytest.fail("it was computed"))
    code, line = xai("model.pt", "scans", "--arch", "net.py:make")
    assert "b.png is damaged" in line
    assert code == 4


def test_a_folder_without_pictures(xai: Call, place: Path) -> None:
    (place / "empty").mkdir()
    assert xai("model.pt", "empty", "--arch", "net.py:make") == (
        2,
        f"error: folder empty holds no picture ({', '.join(SUFFIXES)})",
    )


def test_a_model_that_returns_a_tuple(xai: Call, place: Path) -> None:
    torch.save(Tuple().state_dict(), "model.pt")
    code, line = xai("model.pt", "image.png", "--arch", "net.py:tuple_of_two")
    assert "returns 2 values; expected one tensor (batch, classes)" in line
    assert code == 4


def test_no_card_says_what_to_write(xai: Call, place: Path) -> None:
    (place / "model.yaml").unlink()
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make")
    assert "'input: {shape: [3, 224, 224]" in line
    assert code == 2


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("input: {shape: [3, 12]}", "shape"),
        ("input: {shape: [3, 12, 10], sdt: 1}", "input.sdt"),
        ("input: {shape: [3, 12, 10], mean: [0, 0]}", "mean: expected 1 or 3 numbers, received 2"),
        ("input: {shape: [3, 12, 10], std: 0}", "std: expected positive"),
        ("input: {shape: [3, 12, 10], mean: [.nan, 0, 0]}", "finite number"),
        ("input: {shape: [3, 900000, 900000]}", "expected at most"),
        ("[" * 50000, "is not YAML"),
        ("architecture: net.py:make", "code is never run because a card asks for it"),
        ("a: [", "is not YAML"),
        ("input: !!python/object/apply:os.system ['touch marker']", "is not YAML"),
        ("classes: [a, b]\ninput: {shape: [3, 12, 10]}", "2 class names were given, and the network has 3 outputs"),
    ],
)
def test_wrong_cards(xai: Call, place: Path, card: str, words: str) -> None:
    (place / "model.yaml").write_text(card)
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make")
    assert words in line
    assert code == 4
    assert not (place / "marker").exists()


def test_a_shape_that_the_network_does_not_take(xai: Call, place: Path) -> None:
    (place / "model.yaml").write_text("input: {shape: [3, 9, 9]}")
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make")
    assert "does not take inputs of shape (3, 9, 9)" in line
    assert code == 4


def test_a_read_only_output_folder(xai: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "out")
    assert "out cannot be written: Read-only file system" in line
    assert code == 2


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, a folder nobody can write to")
def test_an_output_folder_that_nobody_can_write_to(xai: Call) -> None:
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "/proc/xai/out")
    assert "/proc/xai/out cannot be written" in line
    assert code == 2


def test_an_output_folder_below_a_file(xai: Call) -> None:
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "net.py/out")
    assert "cannot be written" in line
    assert code == 2


def test_a_disk_that_fills_up_leaves_nothing(xai: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "out")
    assert "No space left on device" in line
    assert code == 3


def test_new_folders_above_the_output_vanish_with_it(xai: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.reports.folder.render", lambda *_: 1 / 0)
    code, _ = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "deep/er/out")
    assert code == 3


def test_a_link_is_not_written_through(xai: Call, place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / "link").symlink_to(place / "elsewhere")
    code, line = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "link")
    assert "is a link" in line
    assert code == 2


def test_what_stands_in_the_output_folder_is_not_lost(xai: Call, place: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "thesis.txt").write_text("mine")
    for more in ([], ["--overwrite"]):
        code, line = xai("model.pt", "image.png", "--arch", "net.py:make", "-o", "out", *more)
        assert code == 2
        assert "choose another" in line
    assert (place / "out" / "thesis.txt").read_text() == "mine"


def test_a_failed_finding_is_reported_and_exits_with_3(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai.explainers.base import explainers

    def fail(*_: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr(explainers.get("occlusion"), "attribute", fail)
    assert run(["explain", "sample:shapes", "sample:shapes", "-o", "out"]) == 3
    assert "failed: Occlusion sensitivity on circle: RuntimeError: the sky fell" in capsys.readouterr().err
    record = json.loads((place / "out" / "record.json").read_text())
    assert {finding["status"] for finding in record["findings"]} == {"ok", "failed"}
    assert "the sky fell" in (place / "out" / "report.html").read_text()


def test_an_unforeseen_error_is_one_line_and_its_traceback_is_for_debug(
    xai: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai.models.loading.load", lambda *_, **__: 1 / 0)
    code, line = xai("model.pt", "image.png")
    assert "ZeroDivisionError" in line
    assert "--debug" in line
    assert code == 3


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX does")
def test_ctrl_c_leaves_nothing(place: Path) -> None:
    (place / "big.py").write_text("from neighbour import make\n")
    (place / "neighbour.py").write_text(
        "from torch import nn\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    sys.path.insert(0, str(place))
    try:
        from neighbour import make
    finally:
        sys.path.remove(str(place))
    torch.save(make().state_dict(), "big.pt")
    (place / "big.yaml").write_text("input: {shape: [3, 224, 224]}\n")
    command = [
        sys.executable,
        "-m",
        "xai.cli",
        "explain",
        "big.pt",
        "image.png",
        "-o",
        "out",
    ]
    command += ["--arch", "big.py:make", "--set", "occlusion.window=2", "--set", "occlusion.stride=1"]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (place / "out.partial").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    time.sleep(0.5)
    try:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "interrupted: nothing was written"
    assert "Traceback" not in err
    assert not (place / "out").exists()
    assert not (place / "out.partial").exists()


def test_ctrl_c_before_anything_is_imported_shows_no_traceback(place: Path) -> None:
    early = """
import sys

class Stop:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop())
from xai.cli import entry
entry()
"""
    done = subprocess.run([sys.executable, "-c", early], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
