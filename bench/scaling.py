"""Time passes on a Dask cluster of processes, check a model of them, and say what it predicts.

    python bench/scaling.py            # and dask-ml on the same data, where it is installed

    t = fixed + workers * task + chunks / workers * chunk + rows / (workers * rate)

The scheduler and the client have a task a worker, and a worker prepares its chunks one after the
other; on few processors they take turns, so the terms add up.
"""

from __future__ import annotations

import logging
import operator
import warnings
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster
from scipy import optimize

from fastbce._threads import one_thread
from fastbce.interop import dask as interop
from fastbce.linear_model.objective import likelihood_of
from fastbce.linear_model.samples import Memory
from fastbce.linear_model.survey import survey_of

ROWS, COLUMNS = 4_000_000, 32
ROUNDS = 7
CHUNKS = (8, 32, 128, 400)
WORKERS = (1, 2)
TASKS = 400


def make(chunks: int) -> tuple[Any, Any]:
    """Return lazy X and y; the workers draw them."""
    state = da.random.default_rng(0)
    rows = ROWS // chunks
    X = state.standard_normal((ROWS, COLUMNS), chunks=(rows, COLUMNS), dtype=np.float32)
    noise = state.logistic(size=ROWS, chunks=rows)
    return X, (X @ np.linspace(-0.4, 0.4, COLUMNS) + noise > 0).astype(np.int8)


def timed(action: Any, rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = perf_counter()
        action()
        times.append(perf_counter() - start)
    return median(times)


def passes(workers: int) -> list[tuple[int, int, float]]:
    """Return workers, chunks and the seconds of a pass for loss and gradient."""
    found = []
    with cluster(workers) as local, Client(local) as client:
        for count in CHUNKS:
            X, y = client.persist(make(count))
            chunks = interop._chunks_of(X, y, None)
            survey = chunks.reduce(partial(interop._of_arrays, survey_of), operator.add)
            rows = interop._Cluster(survey, None, chunks)
            zero = np.zeros(COLUMNS + 1)
            objective = likelihood_of(rows)
            objective(zero)  # compiles
            found.append((workers, count, timed(partial(objective, zero))))
    return found


def cluster(workers: int) -> Any:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    )


def seconds_of_a_row() -> float:
    """Return the time of a row on one thread, without Dask."""
    rng = np.random.default_rng(0)
    rows = Memory(rng.standard_normal((500_000, COLUMNS), np.float32), np.arange(500_000) % 2)
    zero = np.zeros(COLUMNS + 1)
    objective = likelihood_of(rows)
    with one_thread():
        return timed(partial(objective, zero)) / rows.n


def seconds_of_a_task() -> float:
    """Return what a task costs the client, the scheduler and a worker, one after the other."""
    with cluster(1) as local, Client(local) as client:

        def tasks() -> None:
            client.gather([client.submit(abs, i, pure=False) for i in range(TASKS)])

        tasks()
        return timed(tasks) / TASKS


def model(measured: list[tuple[int, int, float]]) -> Any:
    """Return seconds as a function of workers, chunks and rows; relative errors are minimised."""
    row, task = seconds_of_a_row(), seconds_of_a_task()
    times = np.array([t for *_, t in measured])
    terms = np.array([(1.0, k / w) for w, k, _ in measured]) / times[:, None]
    rest = np.array([(t - row * ROWS / w - task * w) / t for w, _, t in measured])
    fixed, chunk = optimize.nnls(terms, rest)[0]
    print(
        f"fixed {fixed * 1e3:.1f} ms a pass, {task * 1e3:.2f} ms a worker, {chunk * 1e3:.2f} ms a "
        f"chunk on its worker, {1 / row / 1e6:.1f} million rows/s a worker"
    )

    def seconds(workers: int, chunks: int, rows: int) -> float:
        return fixed + task * workers + (chunk * chunks + row * rows) / workers

    return seconds


def compare_with_dask_ml() -> None:
    try:
        from dask_ml.linear_model import LogisticRegression as Peer
    except ImportError as error:
        print(f"dask-ml: not compared, {error}")
        return
    with cluster(2) as local, Client(local) as client:
        X, y = client.persist(make(16))
        y = client.persist(y.astype(np.float64))
        ours = interop.LogisticRegression(C=np.inf).fit(X, y)
        seconds = timed(lambda: interop.LogisticRegression(C=np.inf).fit(X, y), 3)
        print(f"fastbce, {ROWS:,} x {COLUMNS}, 16 chunks, 2 workers: {seconds:.2f} s")
        for solver in ("lbfgs", "newton"):
            peer = Peer(solver=solver, C=1e10, solver_kwargs={"normalize": False})
            try:
                start = perf_counter()
                peer.fit(X, y)
                took = perf_counter() - start
            except Exception as error:  # noqa: BLE001 - an old library on a new Dask
                print(f"dask-ml {solver}: fails, {type(error).__name__}: {str(error)[:90]}")
                continue
            theta = np.append(peer.intercept_, peer.coef_)
            away = np.max(np.abs(theta - ours.result_.params))
            chunks = interop._chunks_of(X, y, None)
            rows = interop._Cluster(
                chunks.reduce(partial(interop._of_arrays, survey_of), operator.add), None, chunks
            )
            objective = likelihood_of(rows)
            gradient = np.max(np.abs(objective(objective.coordinates.standard(theta))[1]))
            print(
                f"dask-ml {solver}: {took:.2f} s, {took / seconds:.1f} times as long; coefficients "
                f"{away:.1e} away, with a gradient of {gradient:.1e}"
            )


def main() -> None:
    measured = [found for workers in WORKERS for found in passes(workers)]
    predict = model(measured)
    for workers, chunks, seconds in measured:
        shown = predict(workers, chunks, ROWS)
        print(
            f"{workers} workers, {chunks:4} chunks: {seconds * 1e3:6.0f} ms measured, "
            f"{shown * 1e3:6.0f} ms by the model"
        )
    print("10^9 rows, and 10^7 or 10^8 a worker, in chunks of 10^6, at least one a worker:")
    for workers in (1, 3, 10, 30, 100, 300, 1000):
        for rows in (10**9, 10**7 * workers, 10**8 * workers):
            seconds = predict(workers, max(workers, rows // 10**6), rows)
            print(
                f"{workers:5} workers, {rows:.0e} rows: {seconds:8.2f} s a pass, "
                f"{rows / seconds / 1e6:8.0f} million rows/s"
            )
    compare_with_dask_ml()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
