"""Inside other libraries' processes, threads and parallel regions: no hang, no wrong bit.

Each test needs its library and says so where it is skipped. What could hang runs in a process of
its own, under a time limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from test_faults import PREAMBLE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.ci
def test_joblib(python: Python) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed")
    script = """
if __name__ == "__main__":
    from joblib import Parallel, delayed
    for kind in ("loky", "multiprocessing", "threading"):
        with Parallel(n_jobs=3, backend=kind) as parallel:
            for _ in range(2):
                for p in parallel(delayed(fastbce.sigmoid)(z) for _ in range(4)):
                    assert p.tobytes() == expected[0], kind
                for loss in parallel(delayed(fastbce.bce_with_logits_loss)(z, y) for _ in range(4)):
                    assert float(loss) == expected[1], kind
            assert results() == expected, kind
        assert results() == expected, kind
"""
    python(PREAMBLE + script)


@pytest.mark.ci
def test_dask(python: Python) -> None:
    pytest.importorskip("dask", reason="Dask is not installed")
    script = """
if __name__ == "__main__":
    import dask
    losses = [dask.delayed(fastbce.bce_with_logits_loss)(z, y) for _ in range(24)]
    for scheduler in ("threads", "processes", "synchronous"):
        for loss in dask.compute(*losses, scheduler=scheduler, num_workers=4):
            assert float(loss) == expected[1], scheduler
        assert results() == expected, scheduler
"""
    python(PREAMBLE + script)


@pytest.mark.ci
def test_beside_and_between_openmp_regions(python: Python) -> None:
    """scikit-learn's OpenMP team works in some threads while fastbce's works in others."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    script = """
from concurrent.futures import ThreadPoolExecutor
from sklearn._loss import HalfBinomialLoss

loss = HalfBinomialLoss()
labels = y.astype(np.float32)

def theirs():
    values, slopes = loss.loss_gradient(labels, z, n_threads=3)
    return values.tobytes(), slopes.tobytes()

their_result = theirs()

def both(i):
    if i % 2:
        return theirs() == their_result and results() == expected
    return results() == expected and theirs() == their_result

with ThreadPoolExecutor(6) as pool:
    assert all(pool.map(both, range(60)))
assert results() == expected
"""
    python(PREAMBLE + script)


def test_inside_torch(python: Python) -> None:
    """A loss of our own: forward on this thread, backward on torch's, beside its OpenMP team."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    script = """
from concurrent.futures import ThreadPoolExecutor
import torch

class Loss(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, labels):
        loss, gradient = fastbce.bce_with_logits_loss_gradient(logits.numpy(), labels.numpy())
        context.save_for_backward(torch.from_numpy(gradient))
        return torch.tensor(loss)

    @staticmethod
    def backward(context, upstream):
        assert fastbce.sigmoid(z).tobytes() == expected[0]
        return upstream * context.saved_tensors[0], None

def step(_):
    logits = torch.from_numpy(z).clone().requires_grad_()
    loss = Loss.apply(logits, torch.from_numpy(y.astype(np.float32)))
    loss.backward()
    torch.sigmoid(logits.detach())
    return float(loss) == expected[1] and logits.grad.numpy().tobytes() == expected[2]

assert step(0)
with ThreadPoolExecutor(4) as pool:
    assert all(pool.map(step, range(20)))
assert results() == expected
"""
    python(PREAMBLE + script)


def test_inside_torch_data_workers(python: Python) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    script = """
import torch

class Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return float(fastbce.bce_with_logits_loss(z, y))

if __name__ == "__main__":
    torch.sigmoid(torch.from_numpy(z))
    workers = torch.utils.data.DataLoader(
        Batches(), num_workers=2, batch_size=None, multiprocessing_context="fork"
    )
    assert list(workers) == [expected[1]] * 6
    assert results() == expected
"""
    python(PREAMBLE + script)
