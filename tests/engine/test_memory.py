"""What a call does to memory: nothing is copied, nothing is written but the results.

The slow tests need 12 GiB of memory and 10 GiB of disk.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, FLOATS, LABEL_DTYPES, Array, Case
from checks import FAMILIES, REDUCTIONS, at_night, options_for, same_bits

import fastbce
from fastbce._engine import calls
from fastbce._engine import elementwise as _engine
from fastbce._operations import OPERATIONS
from fastbce._typing import Call

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.CompletedProcess[str]]

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads and limits memory as Linux does")


# --- no memory ----------------------------------------------------------------------------------

# Results of 72 MB: the allocator keeps nothing that large, and no part of 64 MiB can hold one.
CALLS = """
import resource, zlib
import numpy as np
import fastbce

p = np.tile(np.random.default_rng(1).random(30_000).astype(np.float32), 600).reshape(-1, 30)
y = p > 0.3
flat, labels = p.ravel(), y.ravel()
loss = fastbce.Loss_BinaryCrossentropy()

def backward():
    loss.backward(p, y)
    return loss.__dict__.pop("dinputs")

calls = (
    lambda: fastbce.sigmoid(flat),
    lambda: fastbce.sigmoid(p.T),
    lambda: fastbce.sigmoid_backward(flat, flat),
    lambda: fastbce.bce_loss(flat, labels, reduction="none"),
    lambda: fastbce.bce_loss_gradient(flat, labels)[1],
    lambda: fastbce.bce_with_logits_loss_gradient(p, y, sample_weight=p)[1],
    lambda: fastbce.bce_with_logits_gradient_hessian(flat, labels)[1],
    backward,
)
small = (
    lambda: fastbce.bce_with_logits_loss(flat[:10_000], labels[:10_000]),
    lambda: fastbce.linear_bce_loss_gradient(p[:900], labels[:900], np.ones(30, np.float32))[1],
)
results = lambda calls: [zlib.crc32(np.ascontiguousarray(call())) for call in calls]
"""


@linux
@pytest.mark.parametrize(
    ("count", "backend"), [(3, "numba"), *map(at_night, (1, 1), ("numba", "numpy"))]
)
@pytest.mark.ci
def test_no_memory_and_then_memory_again(count: int, backend: str, python: Python) -> None:
    """A call that finds no memory says so, and the one after it works, under the limit still."""
    script = f"""
fastbce.set_num_threads({count})
wanted, wanted_small = results(calls), results(small)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 2**23, hard))
for number, call in enumerate(calls):
    try:
        call()
    except MemoryError:
        assert results(small) == wanted_small
    else:
        raise AssertionError(f"call {{number}} found memory")
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
assert (results(calls), results(small)) == (wanted, wanted_small)
"""
    # What is kept would be memory.
    python(CALLS + script, FASTBCE_BACKEND=backend, FASTBCE_POOL="0")


# --- nothing else is written --------------------------------------------------------------------


def _digest(memory: Array) -> str:
    return hashlib.sha256(memory.tobytes()).hexdigest()


def _in_a_frame(values: Array, layout: str) -> tuple[Array, Array]:
    """Return the values laid out in a larger array, and that array."""
    rows, columns = np.atleast_2d(values).shape
    frame = np.full((3 * rows + 2, 3 * columns + 2), 77).astype(values.dtype)
    view = {
        "rows": frame[1 : rows + 1, 1 : columns + 1],
        "strided": frame[1 : 2 * rows + 1 : 2, 1 : 3 * columns + 1 : 3],
        "backwards": frame[rows:0:-1, columns:0:-1],
    }[layout]
    view = view if values.ndim == 2 else view[0]
    view[...] = values
    return view, frame


@pytest.mark.parametrize(
    "case",
    [BY_NAME["sigmoid"], BY_NAME["sigmoid_backward"], *FAMILIES],
    ids=lambda case: case.name,
)
@pytest.mark.parametrize("layout", ["rows", "strided", "backwards"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_nothing_but_the_results_is_written(
    case: Case, layout: str, dtype: Any, backend: str, rng: np.random.Generator
) -> None:
    """Inputs stay as they are, and so does what lies around and between inputs and outputs."""
    labels = LABEL_DTYPES if case.is_loss and backend == "numpy" else (np.dtype("?"), dtype)
    for label in labels:
        arguments = case.draw(rng, (24, 37), dtype, label)
        inputs = [_in_a_frame(a, layout) for a in arguments]
        before = [_digest(frame) for _, frame in inputs]
        for reduction in REDUCTIONS if case.is_loss else ("none",):
            options = options_for(case, reduction)
            expected = case(*arguments, **options)
            given = [_in_a_frame(np.full_like(a, 7), layout) for a in expected if np.ndim(a)]
            outs = tuple(view for view, _ in given)
            results = case(*(view for view, _ in inputs), out=outs, **options)
            assert [_digest(frame) for _, frame in inputs] == before
            assert all(same_bits(a, b) for a, b in zip(results, expected, strict=True))
            for view, frame in given:
                view[...] = 77
                assert np.all(frame == 77)


# --- sizes that do not agree --------------------------------------------------------------------


F4, BOUNDS = np.dtype(np.float32), (np.float32(0.1), np.float32(0.9))
CLIPPED = (1.0, BOUNDS, None, None, (None,) * 6, None)
LOGITS = (1.0, None, (None,) * 4, None)
# Calls of the compiled backend: the operation, its inputs and outputs (1 where there is an array),
# the kernel's further parameters, what becomes of the losses.
ENGINE: dict[str, tuple[str, str, str, tuple[Any, ...], str]] = {
    "sigmoid": ("sigmoid", "1", "1", (), "none"),
    "sigmoid_backward": ("sigmoid_backward", "11", "1", (), "none"),
    "clipped": ("bce_loss_gradient", "1100", "101", CLIPPED, "none"),
    "clipped sum": ("bce_loss_gradient", "1100", "001", CLIPPED, "sum"),
    "logits": ("bce_with_logits_loss_gradient_hessian", "1100", "1011", LOGITS, "none"),
    "logits sum": ("bce_with_logits_loss_gradient_hessian", "1100", "0011", LOGITS, "sum"),
    "weighted": ("bce_with_logits_loss_gradient", "1110", "1010", LOGITS, "none"),
    "masked": ("bce_loss_gradient", "1101", "101", CLIPPED, "none"),
    "probabilities": ("sigmoid_bce", "1100", "1110", LOGITS, "none"),
    "probabilities sum": ("sigmoid_bce", "1100", "0110", LOGITS, "sum"),
}


@pytest.mark.parametrize("layout", ["plain", "contiguous", "strided"])
@pytest.mark.parametrize("shape", [(100,), (10, 10), (600_000,)], ids=str)
@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("name", ENGINE)
def test_no_kernel_gets_arrays_of_different_sizes(
    name: str, change: int, shape: tuple[int, ...], layout: str, threads: Callable[[int], None]
) -> None:
    """The functions check what the user passes; this is for a mistake of their own."""
    threads(3)
    operation, inputs, outputs, parameters, losses = ENGINE[name]
    present = [place == "1" for place in inputs + outputs]
    count, plain = sum(present), layout == "plain" and "1" not in inputs[2:]
    other = (shape[0] + change, *shape[1:])
    for wrong in range(count):
        arrays = [np.full(other if i == wrong else shape, 0.5, F4) for i in range(count)]
        if layout == "strided":
            arrays = [np.repeat(a, 2, axis=-1)[..., ::2] for a in arrays]
        given = iter(arrays)
        places = tuple(next(given) if here else None for here in present)
        call = Call(places[: len(inputs)], places[len(inputs) :], F4, False, plain)
        with pytest.raises(RuntimeError, match="the arrays of one call differ"):
            _engine.compute(OPERATIONS[operation], call, parameters, losses)
        assert all(np.all(a == 0.5) for a in arrays)


def test_the_flat_arrays_of_threads_have_one_size() -> None:
    arrays = (np.zeros(200_000, F4), np.zeros(199_999, F4))
    kernel = _engine._kernels_of(OPERATIONS["sigmoid"].family).elements
    with pytest.raises(RuntimeError, match=r"shapes \[\(200000,\), \(199999,\)\]"):
        calls.share(kernel, lambda start, threads, spaces: (spaces,), arrays, 2, 64, streams=False)
    assert not arrays[1].any()


class Lying(np.ndarray[Any, np.dtype[Any]]):
    """It says that it has eight elements."""

    shape = property(lambda self: (8,))
    size = property(lambda self: 8)


@pytest.mark.parametrize(
    "case", [BY_NAME["sigmoid"], BY_NAME["sigmoid_backward"], *FAMILIES], ids=lambda c: c.name
)
def test_an_array_that_lies_about_its_size(
    case: Case, backend: str, rng: np.random.Generator
) -> None:
    options, arguments = options_for(case), case.draw(rng, 8, np.float32)
    short = np.full(3, 7, np.float32).view(Lying)
    for place in range(len(case.results)):
        out: list[Any] = [None] * len(case.results)
        out[place] = short
        with pytest.raises(ValueError, match=r"out= has shape \(3,\)"):
            case(*arguments, out=tuple(out), **options)
    assert np.all(np.asarray(short) == 7)
    if len(arguments) == 2:
        with pytest.raises(ValueError, match=r"shape \(3,\)"):
            case(arguments[0], short, **options)
    expected = case(*(np.full(3, 7, np.float32) for _ in arguments), **options)
    for actual, value in zip(case(*(short for _ in arguments), **options), expected, strict=True):
        assert same_bits(actual, value)


@pytest.mark.parametrize("kind", [np.matrix, np.memmap, np.recarray], ids=lambda k: k.__name__)
@pytest.mark.parametrize(
    "case", [BY_NAME["sigmoid"], BY_NAME["sigmoid_backward"], *FAMILIES], ids=lambda c: c.name
)
def test_results_in_subclasses_of_arrays(
    case: Case, kind: Any, backend: str, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, (3, 5), np.float32)
    options = options_for(case)
    out = tuple(np.full((3, 5), 7, np.float32).view(kind) for _ in case.results)
    for actual, target, value in zip(
        case(*arguments, out=out, **options), out, case(*arguments, **options), strict=True
    ):
        assert actual is target
        assert same_bits(target, value)


def test_results_under_a_mask(backend: str) -> None:
    out = np.ma.masked_equal(np.ones(3), 1)
    with pytest.raises(TypeError, match=r"out= is a masked array.*\.data"):
        fastbce.sigmoid(np.zeros(3), out=out)
    fastbce.sigmoid(np.zeros(3), out=out.data)
    assert np.all(out.data == 0.5)


# --- files larger than memory that may be used --------------------------------------------------

MAPPED = """
import threading
import numpy as np
import fastbce

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) << 10

def peak_of(call):
    "Return the result and by how much anonymous memory grew meanwhile, looked at all the time."
    before, most, done = anonymous(), [0], threading.Event()
    def watch():
        while not done.wait(0.001):
            most[0] = max(most[0], anonymous() - before)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return result, max(most[0], anonymous() - before)

def mapped(name, dtype, size, mode):
    path = f"{folder}/{name}"
    if mode == "r":
        with open(path, "wb") as file:
            file.truncate(size * np.dtype(dtype).itemsize)
        written = np.memmap(path, dtype, "r+", shape=size)
        for start in range(0, size, size // 5):
            part = written[start : start + 5000]
            values = np.random.default_rng(start).random(part.size)
            part[:] = values > 0.5 if dtype == "?" else values
        written.flush()
        mode = "r"
    return np.memmap(path, dtype, mode, shape=size)

p, y = mapped("p", "f4", n, "r"), mapped("y", "?", n, "r")
out = mapped("out", "f4", n, "w+")
for length in (1000, 1_000_000):  # kernels compile, on one thread and on several
    x, b = np.full(length, 0.5, "f4"), np.zeros(length, "?")
    fastbce.bce_loss(x, b), fastbce.bce_with_logits_loss(x, b)
    fastbce.sigmoid(x, out=x.copy())
    fastbce.bce_with_logits_gradient(x, b, reduction="none", out=x.copy())
tail = slice(n - n // 5 - 100, n)
for call, check in (
    (lambda: fastbce.bce_loss(p, y), None),
    (lambda: fastbce.bce_with_logits_loss(p, y), None),
    (lambda: fastbce.sigmoid(p, out=out), lambda: fastbce.sigmoid(p[tail])),
    (lambda: fastbce.bce_with_logits_gradient(p, y, reduction="none", out=out),
     lambda: fastbce.bce_with_logits_gradient(p[tail], y[tail], reduction="none")),
):
    small = peak_of(lambda: fastbce.bce_loss(p[:100_000], y[:100_000]))
    result, grown = peak_of(call)
    assert grown < limit, grown
    if check is None:
        print(float(result))
    else:
        assert result is out
        right = check()
        assert np.array_equal(out[tail], right)
        del right
assert not p.flags.writeable
"""


def mapped_files(python: Python, folder: Path, n: int, limit: int, timeout: float) -> list[float]:
    settings = f"folder, n, limit = {str(folder)!r}, {n}, {limit}\n"
    done = python(settings + MAPPED, timeout=timeout)
    return [float(line) for line in done.stdout.split()]


def means_of_mapped_files(folder: Path, n: int) -> list[float]:
    """Return the means of both losses, in pieces and double precision; empty pages cost log 2."""
    p = np.memmap(folder / "p", np.float32, "r", shape=(n,))
    y = np.memmap(folder / "y", np.bool_, "r", shape=(n,))
    step = n // 5
    written = [slice(start, min(start + 5000, n)) for start in range(0, n, step)]
    totals = []
    elements = sum(part.stop - part.start for part in written)
    for name, empty in (
        ("bce_loss", -np.log1p(-np.float64(np.float32(1e-7)))),
        ("bce_with_logits_loss", np.log(2)),
    ):
        total = (n - elements) * empty
        for part in written:
            (losses,) = BY_NAME[name].exact(p[part], y[part], reduction="none")
            total += float(losses.sum())
        totals.append(total / n)
    return totals


@linux
def test_mapped_files_are_not_copied(python: Python, tmp_path: Path) -> None:
    n = 8_000_001
    means = mapped_files(python, tmp_path, n, 12 << 20, 120)
    assert means == pytest.approx(means_of_mapped_files(tmp_path, n), rel=1e-5)


@linux
@pytest.mark.slow
def test_mapped_files_of_more_than_2_gib_are_not_copied(python: Python, tmp_path: Path) -> None:
    n = 600_000_001
    means = mapped_files(python, tmp_path, n, 50 << 20, 900)
    assert means == pytest.approx(means_of_mapped_files(tmp_path, n), rel=1e-5)


# --- more than 2^31 elements --------------------------------------------------------------------

BEYOND = 2**31 + 17


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["float16", "float32"])
def test_more_elements_than_32_bits_can_count(dtype: Any) -> None:
    """Sums, in one call and in two; a sigmoid in place; every place has a value of its own."""
    scores = np.empty(BEYOND, dtype)
    labels = np.empty(BEYOND, np.bool_)
    pattern = np.random.default_rng(3).random(2**20 - 3).astype(dtype)
    for start in range(0, BEYOND, pattern.size):
        part = scores[start : start + pattern.size]
        part[:] = pattern[: part.size]
        labels[start : start + pattern.size] = part > 0.3
    last = slice(BEYOND - 40, BEYOND)
    scores[last] = np.linspace(0.01, 0.99, 40)
    labels[last] = np.arange(40) % 3 == 0
    # Summed in float64 by rows: the sum rounded to float16 would overflow.
    middle = 2**31 - 2**20
    for name in ("bce_loss", "bce_with_logits_loss"):
        function = BY_NAME[name].function
        parts = [slice(0, middle), slice(middle, BEYOND)]
        means = [float(function(scores[part], labels[part])) for part in parts]
        sizes = [middle, BEYOND - middle]
        whole = float(function(scores, labels))
        two = float(np.dot(means, sizes)) / BEYOND
        assert whole == pytest.approx(two, rel=2 * float(np.finfo(dtype).eps))
    assert whole == pytest.approx(
        float(fastbce.bce_with_logits_loss(pattern, pattern > 0.3)), rel=1e-3
    )
    middles = [slice(0, 40), slice(2**31 - 20, 2**31 + 17), slice(2**30 - 20, 2**30 + 20)]
    for name in ("sigmoid", "bce_with_logits_gradient"):
        case = BY_NAME[name]
        rest = () if name == "sigmoid" else (labels,)
        options = options_for(case)
        expected = [case(scores[m].copy(), *(r[m] for r in rest), **options)[0] for m in middles]
        (result,) = case(scores, *rest, out=scores, **options)
        assert result is scores
        for m, value in zip(middles, expected, strict=True):
            assert same_bits(scores[m], value)
