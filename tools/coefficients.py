"""Recompute the polynomial coefficients of the kernels, with the error each one claims.

``python tools/coefficients.py`` prints them; ``--check`` compares them with the constants in
``fastbce/_kernels/exp_log.py`` and exits with 1 if one differs. Needs mpmath.

Each polynomial minimises the largest relative error of the function it serves (Remez's exchange
on a fixed grid of Chebyshev points), and is then rounded to the kernel's type; both errors are
printed. The expansions keep the leading terms of each series exact::

    exp(r) = 1 + r + r^2 q(r)                 |r| <= ln(2) / 2
    log(1 + f) = f - f^2 / 2 + f^3 q(f)       sqrt(1/2) <= 1 + f <= sqrt(2)     (float32)
    log((1 + s) / (1 - s)) = 2 s + s^3 q(s^2) s = f / (2 + f) in the same range (float64)
    the same, of the logit                    |s| <= 1 / 5
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from mpmath import cos, exp, log, log1p, lu_solve, matrix, mp, mpf, pi, polyval, sqrt

mp.dps = 50
GRID = 1500  # points on which the error is looked at
MARGIN = mpf("1.0001")  # range reduction may leave its interval by a rounding

Function = Callable[[Any], Any]


def minimax(
    f: Function, weight: Function, degree: int, low: Any, high: Any
) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return the coefficients that minimise ``max |weight (p - f)|``, and that error's function."""
    size = degree + 2
    grid = [(low + high) / 2 - (high - low) / 2 * cos(pi * i / GRID) for i in range(GRID + 1)]
    values, weights = [f(x) for x in grid], [weight(x) for x in grid]

    def errors(coefficients: list[Any]) -> list[Any]:
        return [
            w * (polyval(coefficients[::-1], x) - v)
            for x, v, w in zip(grid, values, weights, strict=True)
        ]

    # Slightly off centre: the weight may vanish there.
    points = [round(GRID * (i + 0.03) / (size - 1)) for i in range(size - 1)] + [GRID]
    coefficients: list[Any] = []
    for _ in range(25):
        system, right = matrix(size, size), matrix(size, 1)
        for row, point in enumerate(points):
            for power in range(degree + 1):
                system[row, power] = weights[point] * grid[point] ** power
            system[row, degree + 1] = (-1) ** row
            right[row] = weights[point] * values[point]
        solution = lu_solve(system, right)
        coefficients = [solution[i] for i in range(degree + 1)]
        error = errors(coefficients)
        extremes: list[int] = []
        for i, e in enumerate(error):
            if extremes and (error[extremes[-1]] > 0) == (e > 0):
                if abs(e) > abs(error[extremes[-1]]):
                    extremes[-1] = i
            else:
                extremes.append(i)
        levelled = max(abs(e) for e in error) < abs(solution[degree + 1]) * mpf("1.001")
        if levelled or len(extremes) < size:
            break
        while len(extremes) > size:
            first_is_smaller = abs(error[extremes[0]]) < abs(error[extremes[-1]])
            extremes.pop(0 if first_is_smaller else -1)
        points = extremes
    return coefficients, lambda c: max(abs(e) for e in errors(c))


def exp_tail(r: Any) -> Any:
    """Return q of the exponential."""
    return (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -15 else mpf(1) / 2 + r / 6


def log_tail(f: Any) -> Any:
    """Return q of the logarithm."""
    return (log1p(f) - f + f * f / 2) / f**3 if abs(f) > mpf(10) ** -12 else mpf(1) / 3 - f / 4


def atanh_tail(z: Any) -> Any:
    """Return q of the logarithm in terms of s^2 = z."""
    s = sqrt(z)
    if s < mpf(10) ** -12:
        return mpf(2) / 3 + 2 * z / 5
    return (log((1 + s) / (1 - s)) - 2 * s) / s**3


def polynomials() -> list[tuple[str, str, type, int, Function, Function, Any, Any]]:
    """Return (name, suffix, type, degree, function, weight, low, high) of each polynomial."""
    half = log(mpf(2)) / 2 * MARGIN
    low, high = (sqrt(mpf(1) / 2) - 1) * MARGIN, (sqrt(mpf(2)) - 1) * MARGIN
    top = ((3 - 2 * sqrt(mpf(2))) * mpf("1.001")) ** 2

    def exp_weight(r: Any) -> Any:
        return r * r / exp(r)

    def log_weight(f: Any) -> Any:
        return abs(f**3 / log1p(f)) if abs(f) > mpf(10) ** -12 else f * f

    def atanh_weight(z: Any) -> Any:
        return z / 2

    return [
        ("E", "32", np.float32, 4, exp_tail, exp_weight, -half, half),
        ("E", "64", np.float64, 9, exp_tail, exp_weight, -half, half),
        ("L", "32", np.float32, 7, log_tail, log_weight, low, high),
        ("L", "64", np.float64, 6, atanh_tail, atanh_weight, mpf(0), top),
        ("A", "32", np.float32, 3, atanh_tail, atanh_weight, mpf(0), mpf("0.0701")),
        ("A", "64", np.float64, 7, atanh_tail, atanh_weight, mpf(0), mpf("0.0701")),
    ]


def computed() -> dict[str, Any]:
    """Print every constant with its errors, and return them by name."""
    constants: dict[str, Any] = {}
    for name, suffix, kind, degree, function, weight, low, high in polynomials():
        exact, error = minimax(function, weight, degree, low, high)
        rounded = [kind(float(c)) for c in exact]
        after = error([mpf(float(c)) for c in rounded])
        print(
            f"# {name}0_{suffix} ... relative error 2^{float(log(error(exact), 2)):.1f}, "
            f"rounded to {kind.__name__} 2^{float(log(after, 2)):.1f}"
        )
        for i, c in enumerate(rounded):
            constants[f"{name}{i}_{suffix}"] = c
            print(f"{name}{i}_{suffix} = {float(c)!r}")
    return constants


def main() -> int:
    """Print the coefficients; with ``--check``, compare them with the kernels'."""
    constants = computed()
    if "--check" not in sys.argv:
        return 0
    from fastbce._kernels import exp_log

    different = [n for n, c in constants.items() if getattr(exp_log, n) != c]
    print(f"differ from the kernels: {', '.join(different)}" if different else "all as in use")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
