"""The two data sets of the demo, as arrays ready for training; both ship inside a package."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

FLIGHTS_WITH_ARRIVAL_DELAY = 327_346
LATE_MINUTES = 15
HELD_OUT_FRACTION = 0.25


@dataclass(frozen=True)
class Split:
    """Samples to train on and samples held out, with the names of the variables."""

    X_train: NDArray[Any]
    y_train: NDArray[Any]
    X_test: NDArray[Any]
    y_test: NDArray[Any]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Scaler:
    """Means and standard deviations of the training samples."""

    mean: NDArray[Any]
    scale: NDArray[Any]

    @classmethod
    def of(cls, X: NDArray[Any]) -> Scaler:
        """Measure the columns of `X`."""
        return cls(X.mean(axis=0), X.std(axis=0))

    def __call__(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return `X` in standard deviations from the training mean."""
        return np.asarray((X - self.mean) / self.scale)


def load_breast_cancer(seed: int = 0) -> Split:
    """Return the Wisconsin breast-cancer data, a quarter of the tumours held out.

    Parameters
    ----------
    seed : int
        Decides which tumours are held out.

    Returns
    -------
    Split
        The 30 variables as measured, float64, and labels of shape ``(n, 1)`` that are 1 where
        the tumour is malignant.
    """
    from sklearn.datasets import load_breast_cancer as load

    data = load()
    # scikit-learn codes benign as 1; the event to predict is malignant.
    y = (1.0 - data.target)[:, None]
    order = np.random.default_rng(seed).permutation(len(y))
    test, train = np.split(order, [round(HELD_OUT_FRACTION * len(y))])
    names = tuple(str(name) for name in data.feature_names)
    return Split(data.data[train], y[train], data.data[test], y[test], names)


def load_flights() -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]:
    """Return the flights that left New York in 2013, with what is known before departure.

    Returns
    -------
    X : ndarray of float32, shape (327346, 33)
        Scheduled hour and distance, standardised, then one column for each month, carrier and
        origin.
    y : ndarray of float32, shape (327346, 1)
        1 where the flight arrived 15 or more minutes late.
    names : tuple of str
        One name per column of `X`.
    """
    wanted = ("arr_delay", "sched_dep_time", "distance", "month", "carrier", "origin")
    columns = zip(*_flights_with_arrival_delay(wanted), strict=True)
    delay, departure, distance, month, carrier, origin = (np.array(column) for column in columns)
    if len(delay) != FLIGHTS_WITH_ARRIVAL_DELAY:
        raise ValueError(
            f"nycflights13: expected {FLIGHTS_WITH_ARRIVAL_DELAY} flights with an arrival delay, "
            f"found {len(delay)}"
        )
    numbers = np.column_stack([departure.astype(np.int64) // 100, distance.astype(np.float64)])
    blocks: list[NDArray[Any]] = [Scaler.of(numbers)(numbers)]
    names = ["scheduled hour", "distance"]
    for prefix, values in (
        ("month", month.astype(np.int64)),
        ("carrier", carrier),
        ("origin", origin),
    ):
        levels, codes = np.unique(values, return_inverse=True)
        blocks.append(codes[:, None] == np.arange(len(levels)))
        names += [f"{prefix} {level}" for level in levels]
    X = np.concatenate([block.astype(np.float32) for block in blocks], axis=1)
    y = (delay.astype(np.float64) >= LATE_MINUTES).astype(np.float32)[:, None]
    return X, y, tuple(names)


def _flights_with_arrival_delay(wanted: Sequence[str]) -> Iterator[list[str]]:
    # The file is opened where it is installed, because importing the package itself needs a
    # setuptools module that no longer exists.
    path = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    with zipfile.ZipFile(str(path)) as archive, archive.open("flights.csv") as binary:
        rows = csv.reader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        header = next(rows)
        positions = [header.index(name) for name in wanted]
        arrival_delay = header.index("arr_delay")
        for row in rows:
            if row[arrival_delay] not in {"", "NA"}:
                yield [row[position] for position in positions]
