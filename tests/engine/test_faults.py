"""Forks, signals, many callers, no memory, no threads: no hang, no crash, no wrong bit.

What could hang or kill runs in a process of its own, under a time limit.
"""

from __future__ import annotations

import os
import pkgutil
import sys
import time
import weakref
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cases import BY_NAME
from checks import at_night, in_ci
from numba.core.registry import CPUDispatcher

import fastbce
from fastbce import _kernels

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.CompletedProcess[str]]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

# Large enough for every thread to get a share.
PREAMBLE = """
import os, signal, sys, threading, time
import numpy as np
import fastbce

fastbce.set_num_threads(3)
z = np.random.default_rng(1).normal(scale=6, size=600_001).astype(np.float32)
y = z > 1

def results():
    p = fastbce.sigmoid(z)
    loss, gradient = fastbce.bce_with_logits_loss_gradient(z, y)
    return p.tobytes(), float(loss), gradient.tobytes(), float(fastbce.bce_loss(p, y))

expected = results()
"""

# One kernel, which takes a second to compile, and nothing computed yet.
PREAMBLE_OF_ONE_KERNEL = """
import os, signal, sys, threading, time
import numpy as np
import fastbce

z = np.linspace(-9, 9, 1001)

def results():
    return fastbce.sigmoid(z).tobytes()
"""


# --- processes ----------------------------------------------------------------------------------

FORK = """
def fork_and_check():
    child = os.fork()
    if child == 0:
        signal.alarm(120)  # a hang ends the child
        try:
            right = results() == expected and results() == expected
        except BaseException:
            right = False
        os._exit(0 if right else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@needs_fork
def test_a_forked_child_computes(python: Python) -> None:
    script = """
for _ in range(5):
    assert fork_and_check() == 0
    assert results() == expected
fastbce.set_num_threads(1)
assert fork_and_check() == 0
"""
    python(PREAMBLE + FORK + script)


def fork_inside_kernels(python: Python, rounds: int, timeout: float) -> None:
    script = f"""
stop = threading.Event()
wrong = []

def work():
    while not stop.is_set():
        if results() != expected:
            wrong.append(True)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
codes = [fork_and_check() for _ in range({rounds})]
stop.set()
for thread in threads:
    thread.join()
assert codes == [0] * {rounds}, codes
assert not wrong
assert results() == expected
"""
    python(PREAMBLE + FORK + script, timeout=timeout)


@needs_fork
def test_fork_while_other_threads_are_in_kernels(python: Python) -> None:
    fork_inside_kernels(python, 15, 120)


@needs_fork
@pytest.mark.ci
def test_fork_while_another_thread_compiles(python: Python, tmp_path: Path) -> None:
    script = """
from fastbce._engine import elementwise  # imports Numba
started = threading.Event()

def compile_all():
    started.set()
    x = np.full(2, 0.25)
    for labels in (x, x > 0, x.astype(int)):
        for reduction in ("none", "mean"):
            fastbce.bce_with_logits_loss_gradient_hessian(x, labels, reduction=reduction)

thread = threading.Thread(target=compile_all)
thread.start()
started.wait()
codes = []
for pause in (0.05, 0.3, 0.3):
    time.sleep(pause)
    assert thread.is_alive()
    codes.append(fork_and_check())
assert codes == [0, 0, 0], codes
os._exit(0)  # the rest of the compilation is of no interest
"""
    # No kernel is compiled yet, in the parent and in its children.
    check = FORK.replace("results() == expected and results() == expected", "bool(results())")
    # A fork waits for the compiler's lock among the other thread's kernels: long on a busy machine.
    python(PREAMBLE_OF_ONE_KERNEL + check + script, NUMBA_CACHE_DIR=str(tmp_path), timeout=600)


@needs_fork
@pytest.mark.slow
def test_a_thousand_forks_while_other_threads_are_in_kernels(python: Python) -> None:
    fork_inside_kernels(python, 1000, 1800)


@pytest.mark.ci
def test_pools_of_processes(python: Python) -> None:
    script = """
if __name__ == "__main__":
    import multiprocessing
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(2) as pool:
            for p in pool.map(fastbce.sigmoid, [z] * 4):
                assert p.tobytes() == expected[0], method
            for loss in pool.starmap(fastbce.bce_with_logits_loss, [(z, y)] * 4):
                assert float(loss) == expected[1], method
        assert results() == expected, method
"""
    python(PREAMBLE + script)


@needs_fork
def test_grandchildren_compute(python: Python) -> None:
    script = """
def nested():
    if fork_and_check() != 0 or results() != expected:
        return 1
    return 0

child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(nested())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    python(PREAMBLE + FORK + script)


def test_the_process_ends_while_threads_work(python: Python) -> None:
    script = """
def work():
    while True:
        results()

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("end")
"""
    done = python(PREAMBLE + script, timeout=60)
    assert done.stdout == "end\n"
    assert done.stderr == ""


def test_results_at_exit(python: Python) -> None:
    script = """
import atexit
atexit.register(lambda: print(results() == expected))
"""
    assert python(PREAMBLE + script, timeout=60).stdout == "True\n"


# --- threads ------------------------------------------------------------------------------------


def test_small_calls_start_no_threads(python: Python) -> None:
    script = """
import threading
import numpy as np
import fastbce
fastbce.set_num_threads(8)
fastbce.sigmoid(np.zeros(1000))
fastbce.bce_loss(np.full(1000, 0.5), np.ones(1000))
assert threading.active_count() == 1
"""
    python(script)


def test_64_callers_at_once(python: Python) -> None:
    script = """
from concurrent.futures import ThreadPoolExecutor
for count in (3, 1):
    fastbce.set_num_threads(count)
    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(lambda _: results() == expected, range(160))), count
"""
    python(PREAMBLE + script)


def test_changing_the_number_of_threads_during_calls(python: Python) -> None:
    script = """
from concurrent.futures import ThreadPoolExecutor

def call(i):
    fastbce.set_num_threads(1 + i % 8)
    return results() == expected

with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(call, range(100)))
"""
    python(PREAMBLE + script)


def test_more_threads_than_processors(threads: Callable[[int], None]) -> None:
    z = np.random.default_rng(4).normal(size=5_000_000).astype(np.float32)
    threads(1)
    expected = fastbce.bce_with_logits_loss(z, z > 0)
    threads(200)
    assert fastbce.bce_with_logits_loss(z, z > 0) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
@pytest.mark.parametrize("when", ["from the start", "later"])
def test_one_processor(when: str, python: Python) -> None:
    bind = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    script = """
for count in (3, 1, 2):
    fastbce.set_num_threads(count)
    assert results() == expected
"""
    python(bind + PREAMBLE + script if when == "from the start" else PREAMBLE + bind + script)


def test_no_threads_to_be_had(python: Python) -> None:
    script = """
import threading
import numpy as np
import fastbce

def refuse(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refuse
z = np.linspace(-9, 9, 1_000_000)
fastbce.set_num_threads(1)
expected = fastbce.sigmoid(z).tobytes(), fastbce.bce_with_logits_loss(z, z > 0)
fastbce.set_num_threads(3)
for _ in range(3):
    assert (fastbce.sigmoid(z).tobytes(), fastbce.bce_with_logits_loss(z, z > 0)) == expected
"""
    python(script)


def test_idle_threads_use_no_processor_time(python: Python) -> None:
    script = """
time.sleep(0.2)
before = time.process_time()
time.sleep(1)
assert time.process_time() - before < 0.1
assert results() == expected
"""
    python(PREAMBLE + script)


def test_arrays_are_released_after_a_call(threads: Callable[[int], None]) -> None:
    threads(3)
    z = np.zeros(600_000, np.float32)
    out = fastbce.sigmoid(z)
    dead = [weakref.ref(z), weakref.ref(out)]
    del z, out
    for _ in range(100):
        if not any(ref() is not None for ref in dead):
            break
        time.sleep(0.05)
    assert [ref() for ref in dead] == [None, None]


# --- interruptions ------------------------------------------------------------------------------

# Scores and labels of 10^11 elements in no memory: the call lasts for minutes.
LONG_CALLS = {
    "strided": """
endless = np.broadcast_to(np.float32(0.5), 10**11)
call = lambda: fastbce.bce_with_logits_loss(endless, endless)
""",
    "contiguous": """
large = np.full(20_000_000, 0.3)
soft = np.full(20_000_000, 0.4)
def call():
    while True:
        fastbce.bce_loss(large, soft)
""",
    "one thread": """
large = np.full(20_000_000, 0.3)
soft = np.full(20_000_000, 0.4)
fastbce.set_num_threads(1)
def call():
    while True:
        fastbce.bce_loss(large, soft)
""",
}


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("kind", ["strided", in_ci("one thread"), at_night("contiguous")])
def test_ctrl_c(kind: str, python: Python) -> None:
    # A shell's background job ignores the signal, and its children with it.
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)
for attempt in range(3):
    timer = threading.Timer(0.3 + attempt / 7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        call()
    except KeyboardInterrupt as error:
        traceback = error.__traceback__
        files = set()
        while traceback:
            files.add(os.path.basename(traceback.tb_frame.f_code.co_filename))
            traceback = traceback.tb_next
        assert "_evaluate.py" in files, files
    else:
        raise AssertionError("not interrupted")
    timer.join()
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.2, "threads still work"
    fastbce.set_num_threads(3)
    assert results() == expected
"""
    python(PREAMBLE + LONG_CALLS[kind] + script, timeout=90)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("seconds", [0.05, 0.5, *map(at_night, [0.2, 0.9])])
@pytest.mark.ci
def test_ctrl_c_while_kernels_are_compiled(seconds: float, python: Python, tmp_path: Path) -> None:
    """It waits for the end of an import or a compilation, which would leave Numba broken."""
    script = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer({seconds}, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        results()
except KeyboardInterrupt:
    pass
assert np.allclose(np.frombuffer(results()), 1 / (1 + np.exp(-z)), rtol=1e-14)
"""
    python(PREAMBLE_OF_ONE_KERNEL + script, NUMBA_CACHE_DIR=str(tmp_path))


# --- memory -------------------------------------------------------------------------------------

LOSS_RESULTS = ["bce_with_logits_gradient", "bce_loss_gradient", "bce_gradient"]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", ["sigmoid", *LOSS_RESULTS])
def test_no_memory_for_the_result(name: str) -> None:
    case = BY_NAME[name]
    endless = np.broadcast_to(np.float32(0.5), 10**15)
    arguments = (endless,) if case.kind == "sigmoid" else (endless, endless)
    with pytest.raises(MemoryError):
        case(*arguments)
    (result,) = BY_NAME["sigmoid"](np.zeros(300_000))
    assert np.all(result == 0.5)


def test_a_compilation_leaves_the_collector_as_it_was(python: Python) -> None:
    script = """
import gc
gc.set_threshold(701, 11, 12)
results()
assert gc.get_threshold() == (701, 11, 12)
from fastbce._kernels.sigmoid import sigmoid_block
try:
    sigmoid_block("no array", None)
except Exception as error:
    assert "Cannot determine" in str(error) or "Failed in nopython" in str(error), error
else:
    raise AssertionError
assert gc.get_threshold() == (701, 11, 12)
"""
    python(PREAMBLE_OF_ONE_KERNEL + script)


def test_workers_compile_nothing(python: Python) -> None:
    """What a thread loads when the memory is used up ends the process: the caller loads it."""
    script = """
import threading
from fastbce._engine import calls, workers
calls.LONG = 0.0
start = threading.Thread.start
ready = []
def checked(thread):
    ready.append(len(workers.serve.signatures))
    start(thread)
threading.Thread.start = checked
fastbce.set_num_threads(3)
fastbce.sigmoid(np.linspace(-9, 9, 2_000_001))
assert ready == [1, 1], ready
"""
    python(PREAMBLE_OF_ONE_KERNEL + script)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_no_memory_for_scratch_space(python: Python) -> None:
    """Under a limit on memory a call fails, or is right; with the limit gone the next is right."""
    script = """
import resource
from fastbce._engine import calls as engine
engine.LONG = 0.0  # calls are shared at once: no kernel is left to load without memory
rows = np.zeros((3, 40_000), np.float32).T[:, ::2]
calls = (
    lambda: fastbce.bce_with_logits_gradient(rows, rows != 0),
    lambda: fastbce.bce_with_logits_loss(rows, rows != 0, reduction="samples"),
    lambda: fastbce.bce_with_logits_loss(z.astype(np.float16), y),
)
wanted = [call().tobytes() for call in calls]
_, hard = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
failures = 0
for spare in (0, 2**16, 2**20, 2**22, 2**26):
    resource.setrlimit(resource.RLIMIT_AS, (used + spare, hard))
    for call, right in zip(calls, wanted):
        try:
            assert call().tobytes() == right
        except MemoryError:
            failures += 1
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    assert [call().tobytes() for call in calls] == wanted
    assert results() == expected
"""
    python(PREAMBLE + script)


def test_what_has_no_entry_for_python_cannot_be_called() -> None:
    """A call would go to address 0."""
    found = 0
    for module in pkgutil.iter_modules(_kernels.__path__, "fastbce._kernels."):
        for value in vars(import_module(module.name)).values():
            if not isinstance(value, CPUDispatcher):
                continue
            if value.targetoptions.get("no_cpython_wrapper"):
                name = value.py_func.__name__
                with pytest.raises(TypeError, match=f"{name} is part of compiled"):
                    value(0.5)
                found += 1
    assert found > 50
