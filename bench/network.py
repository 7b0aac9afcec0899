"""Train a two-layer network at several batch sizes: NumPy's classes, then ours by the import alone.

    python bench/network.py --plot docs/results

Both train the same network on the same batches, in turns, each after a rest; the losses of all
steps are compared, and the times of a step printed and drawn (network-light.svg and -dark.svg).
With PyTorch installed the same network is trained there too, with its own loss and with that of
`fastbce.interop.torch`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastbce
from fastbce._machine import machine_line
from fastbce.demo import from_scratch

SIZES = (10**3, 10**4, 10**5, 10**6)
ROUNDS, STEPS = 4, 5
# Seconds in which the threads of the one before go to sleep.
REST = 0.05
INPUTS, HIDDEN = 8, 16
RATE = 0.5
TOLERANCE = 1e-5  # float32; the weights of the two are rounded apart, a little each step
Step = Callable[[], float]
THEMES = {"light": ("#ffffff", "#24292f"), "dark": ("#14181e", "#ced6dd")}
COLOURS = {"NumPy": "#0072B2", "fastbce": "#D55E00", "torch": "#CC79A7", "torch, ours": "#009E73"}


def data(n: int) -> tuple[Any, Any]:
    """Draw two classes that no plane separates."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, INPUTS), dtype=np.float32)
    return X, (X[:, :1] * X[:, 1:2] > 0).astype(np.float32)


def weights() -> list[Any]:
    rng = np.random.default_rng(1)
    shapes = ((INPUTS, HIDDEN), (1, HIDDEN), (HIDDEN, 1), (1, 1))
    scale = (INPUTS**-0.5, 0, HIDDEN**-0.5, 0)
    return [
        (rng.standard_normal(s) * c).astype(np.float32) for s, c in zip(shapes, scale, strict=True)
    ]


def of_arrays(classes: Any, X: Any, y: Any) -> Step:
    """Return a step of gradient descent whose sigmoid and loss are those of a module."""
    w1, b1, w2, b2 = weights()
    activation, loss_function = classes.Activation_Sigmoid(), classes.Loss_BinaryCrossentropy()

    def step() -> float:
        hidden = np.maximum(X @ w1 + b1, 0)
        activation.forward(hidden @ w2 + b2)
        loss = loss_function.calculate(activation.output, y)
        loss_function.backward(activation.output, y)
        activation.backward(loss_function.dinputs)
        slope = activation.dinputs
        below = np.where(hidden > 0, slope @ w2.T, 0)
        for weight, gradient in (
            (w2, hidden.T @ slope),
            (b2, slope.sum(axis=0, keepdims=True)),
            (w1, X.T @ below),
            (b1, below.sum(axis=0, keepdims=True)),
        ):
            weight -= RATE * gradient
        return float(loss)

    return step


def of_tensors(torch: Any, loss_function: Any, X: Any, y: Any) -> Step:
    """Return the same step in PyTorch."""
    parameters = [torch.from_numpy(a).requires_grad_() for a in weights()]
    w1, b1, w2, b2 = parameters
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    descent = torch.optim.SGD(parameters, lr=RATE)

    def step() -> float:
        descent.zero_grad()
        loss = loss_function(torch.relu(inputs @ w1 + b1) @ w2 + b2, labels)
        loss.backward()
        descent.step()
        return float(loss.detach())

    return step


def everybody(X: Any, y: Any) -> dict[str, Step]:
    steps = {"NumPy": of_arrays(from_scratch, X, y), "fastbce": of_arrays(fastbce, X, y)}
    try:
        import torch
    except ImportError:
        return steps
    from fastbce.interop import torch as ours

    theirs = torch.nn.functional.binary_cross_entropy_with_logits
    steps["torch"] = of_tensors(torch, theirs, X, y)
    steps["torch, ours"] = of_tensors(torch, ours.binary_cross_entropy_with_logits, X, y)
    return steps


def train(n: int) -> dict[str, float]:
    """Return the median seconds of a step of each; raise where losses differ."""
    X, y = data(n)
    steps = everybody(X, y)
    losses: dict[str, list[float]] = {name: [] for name in steps}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(ROUNDS):
        for name in list(steps)[:: 1 - 2 * (turn % 2)]:
            time.sleep(REST)
            losses[name].append(steps[name]())  # may compile, and wakes its threads
            for _ in range(STEPS):
                start = time.perf_counter()
                losses[name].append(steps[name]())
                times[name].append(time.perf_counter() - start)
    for found in losses.values():
        np.testing.assert_allclose(found, losses["NumPy"], rtol=TOLERANCE)
    return {name: median(found) for name, found in times.items()}


def draw(found: dict[int, dict[str, float]], directory: Path, theme: str) -> Path:
    from matplotlib.figure import Figure

    ground, ink = THEMES[theme]
    figure = Figure(figsize=(6, 3.6), layout="constrained", facecolor=ground)
    axes = figure.subplots()
    axes.set_facecolor(ground)
    for name, colour in COLOURS.items():
        points = [(n, 1e3 * times[name]) for n, times in found.items() if name in times]
        if points:
            axes.loglog(*zip(*points, strict=True), marker="o", color=colour, label=name)
    axes.set_xlabel("rows in a batch", color=ink)
    axes.set_ylabel("milliseconds a step", color=ink)
    axes.tick_params(which="both", colors=ink)
    for spine in axes.spines.values():
        spine.set_color(ink)
    axes.legend(frameon=False, labelcolor=ink)
    path = directory / f"network-{theme}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the times there")
    arguments = parser.parse_args()
    print(machine_line())
    found = {n: train(n) for n in SIZES}
    names = list(next(iter(found.values())))
    print(f"\n| rows in a batch | {' | '.join(names)} | NumPy / fastbce |")
    print("| --- |" + " --- |" * (len(names) + 1))
    for n, times in found.items():
        cells = " | ".join(f"{1e3 * times[name]:.3g} ms" for name in names)
        print(f"| {n:,} | {cells} | {times['NumPy'] / times['fastbce']:.2f} |")
    if arguments.plot:
        for theme in THEMES:
            print(f"wrote {draw(found, arguments.plot, theme)}")


if __name__ == "__main__":
    main()
