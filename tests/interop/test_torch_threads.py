"""PyTorch's losses on PyTorch's threads: bits, limits, forked children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch_cases import NAMES, labels, scores

import fastbce
from fastbce._engine import calls
from fastbce._engine.lender import Choice, Lender, lent
from fastbce._engine.team import team_of
from fastbce._kernels.compile import OPTIONS
from fastbce.interop import torch as interop
from fastbce.interop.torch import _ways

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pytorch_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def lender() -> Lender:
    found: Lender = _ways._team()[1]
    if found.slots is None:
        pytest.skip("PyTorch has no OpenMP here that can be found")
    return found


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Note the threads of each call that may be shared, and whether they are PyTorch's."""
    found: list[tuple[int, bool]] = []
    original = calls._run

    def run(kernel: Any, options: Any, arrays: Any, threads: int, *rest: Any) -> None:
        found.append((threads, rest[-1] is not None))
        original(kernel, options, arrays, threads, *rest)

    monkeypatch.setattr(calls, "_run", run)
    monkeypatch.setattr(Choice, "borrows", lambda self: True)
    return found


@pytest.mark.parametrize("count", [2, 3, 16])
def test_pytorchs_team_gives_the_same_bits(
    count: int,
    lender: Lender,
    shared: list[tuple[int, bool]],
    pytorch_threads: Callable[[int], None],
    threads: Callable[[int], None],
) -> None:
    name = NAMES[1]
    x, y = scores(name, 10**6, torch.float32), labels(10**6, torch.float32)
    threads(1)
    expected = fastbce.bce_with_logits_loss_gradient(x.numpy(), y.numpy())
    pytorch_threads(count)
    torch.relu(x)
    for most in (2, 16):
        threads(most)
        for _ in range(3):
            leaf = x.clone().requires_grad_()
            loss = interop.binary_cross_entropy_with_logits(leaf, y)
            loss.backward()
            assert shared[-1] == (min(count, most), True)
            assert loss.item() == expected[0]
            assert np.array_equal(leaf.grad.numpy(), expected[1])


def test_threads_that_a_job_has_no_use_for_leave_it(
    lender: Lender, pytorch_threads: Callable[[int], None]
) -> None:
    """Each thread has scratch space of its own, of which there is enough for those asked for."""
    compiled = numba.njit(**OPTIONS)
    numbered = compiled(lambda thread, first, parts, options: _fill(parts[0], thread))
    team = team_of(numbered, decorate=compiled)
    out = np.zeros(4_000_000, np.int64)
    pytorch_threads(16)
    torch.relu(torch.zeros(10**6))
    found = set()
    for _ in range(5):
        out[:] = -1
        team((out,), (), out.size, 1000, lender.slots, 2)
        found |= set(np.unique(out).tolist())
    assert found <= {0, 1}


@numba.njit(**OPTIONS)
def _fill(part: Any, number: int) -> None:
    part[:] = number


def test_pytorchs_limit_of_threads_holds(
    lender: Lender,
    shared: list[tuple[int, bool]],
    pytorch_threads: Callable[[int], None],
    threads: Callable[[int], None],
) -> None:
    x, y = torch.zeros(10**6), torch.zeros(10**6)
    threads(4)
    for count, theirs in ((1, False), (2, True)):
        pytorch_threads(count)
        interop.binary_cross_entropy_with_logits(x, y)
        assert shared[-1] == (count, theirs)
    fastbce.bce_with_logits_loss(x.numpy(), y.numpy())
    assert shared[-1] == (4, False)  # the limit and the team are the adapter's alone
    assert lent.get() is None


def test_a_forked_child_uses_its_own_threads(python: Python) -> None:
    script = """
import os, sys, warnings
import torch
from fastbce._engine.lender import Choice
from fastbce.interop import torch as interop
from fastbce.interop.torch import _ways

Choice.borrows = lambda self: True
torch.set_num_threads(2)
x, y = torch.linspace(-3, 3, 200_000), torch.zeros(200_000)
for _ in range(3):
    z = torch.relu(x)
    expected = interop.binary_cross_entropy_with_logits(z, y)
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    assert _ways._team()[1].slots is None
    found = interop.binary_cross_entropy_with_logits(z, y)
    os._exit(0 if found == expected else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

class Losses(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return interop.binary_cross_entropy_with_logits(torch.relu(x), y)

loader = torch.utils.data.DataLoader(Losses(), num_workers=2, multiprocessing_context="fork")
assert [loss.item() for loss in loader] == [expected.item()] * 4
print("the same")
"""
    assert python(script).stdout == "the same\n"


def test_a_child_of_a_process_that_knew_pytorch_alone(python: Python) -> None:
    script = """
import multiprocessing, warnings
import torch

def child(z, y):
    from fastbce._engine.lender import Choice
    from fastbce.interop import torch as interop

    Choice.borrows = lambda self: True
    interop.binary_cross_entropy_with_logits(z, y)

torch.set_num_threads(2)
z, y = torch.relu(torch.linspace(-3, 3, 200_000)), torch.zeros(200_000)
warnings.simplefilter("ignore")
process = multiprocessing.get_context("fork").Process(target=child, args=(z, y))
process.start()
process.join(60)
process.kill()
print(process.exitcode)
"""
    assert python(script).stdout == "0\n"
