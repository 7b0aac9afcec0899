"""Break the kernels on purpose, one change at a time, and see that the tests notice each.

``python tools/mutations.py`` copies the package, applies each mutation to the copy and runs
tests/interpreted.py on it; it prints what survived and exits with 1 if anything did.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastbce"

# (what is broken, text in files of _kernels/, its replacement)
MUTATIONS = (
    ("an exponential coefficient", "E2_32 = np.float32(0.0416", "E2_32 = np.float32(0.0426"),
    ("a float64 coefficient", "E6_64 = 2.4801", "E6_64 = 2.4901"),
    (
        "the exponential's cut-off",
        "LOWEST_32 = np.float32(-105.0)",
        "LOWEST_32 = np.float32(-90.0)",
    ),
    ("the float64 cut-off", "LOWEST_64 = -746.0", "LOWEST_64 = -700.0"),
    ("a logarithm coefficient", "L1_32 = np.float32(-0.25", "L1_32 = np.float32(-0.26"),
    ("a float64 logarithm coefficient", "L3_64 = 0.2222", "L3_64 = 0.2322"),
    ("the split of ln 2", "LN2_LO_64 = 1.908", "LN2_LO_64 = 2.908"),
    ("a coefficient of the logit", "A1_64 = 0.4000", "A1_64 = 0.4100"),
    ("the exponent of the odds", "np.int32(0.72 * 2**23)", "np.int32(1.72 * 2**23)"),
    ("the rounding error of 1 - p", "((scaled - t) - t_low)", "(scaled - t)"),
    ("the side of the sigmoid", "base = one if x >= 0 else e", "base = one if x <= 0 else e"),
    (
        "the sign of the gradient",
        "fma(-a, left, b * right)",
        "fma(a, left, b * right)",
    ),
    (
        "the sides of the gradient",
        "if positive else (small, large)",
        "if positive else (large, small)",
    ),
    ("the Hessian", "fma(-small, small, small)", "fma(small, small, small)"),
    ("the lower clip bound", "bounds[0] if p < bounds[0] else p", "p"),
    ("the upper clip bound", "bounds[1] if c > bounds[1] else c", "c"),
    ("the clipped gradient", "product = c * (like(c, 1) - c)", "product = c * (like(c, 1) + c)"),
    ("the rounding error of 1 - c", "c - c if positive else (one - h) - c", "c - c"),
    ("the rounding error of 1 + e", "d_low = e - (d - one)", "d_low = e - e"),
    ("NaN in the logarithm", "c - c if positive", "one - one if positive"),
    ("NaN in the product", "products[i] - products[i])", "0.0)"),
    (
        "the label's wrong side",
        "wrong = b if positive else a",
        "wrong = a if positive else b",
    ),
    ("an infinite right label", "like(z, 0) if wrong == 0 else abs(z) * wrong", "abs(z) * wrong"),
    (
        "detection of soft labels",
        "soft |= np.int32((y[i] != 0) & (y[i] != 1) &",
        "soft |= np.int32((y[i] == 2) &",
    ),
    ("the guard of the product", "bounds[0] < PRODUCT_EPS or", "bounds[0] < 0 or"),
    ("the side of a soft label", "(a if low else b)", "(b if low else a)"),
    ("the smaller side", "small = c if low else one - c", "small = c"),
    ("the odds", "r = small / (one - small)", "r = small / (one + small)"),
    ("soft labels met late in place", "n if grad is True or prob is True else", ""),
    ("the place of a gradient", "return source if target is True else target", "return target"),
    ("the mean of the lanes", "np.float64(linear[i]) * TERMS", "np.float64(linear[i])"),
    ("the lower bound of a label", "(values[i] >= 0) & (values[i] <= 1)", "(values[i] <= 1)"),
    ("the upper bound of a label", "(values[i] >= 0) & (values[i] <= 1)", "(values[i] >= 0)"),
    (
        "the tiny e of the product",
        "fma(e, one + products[i], products[i])",
        "(one + e) * (one + products[i]) - one",
    ),
    ("the scale of small odds", "- (shift if small else zero)", "- zero"),
    ("a probability of 0", "like(p, -np.inf) if s == 0 else value", "value"),
    ("numbers that are no probabilities", "value if s >= 0 else like(p, np.nan)", "value"),
    ("the side of the logit", "return value if low else -value", "return value"),
    (
        "the sides of the softplus",
        "(x if x > 0 else like(x, 0)) +",
        "(x if x < 0 else like(x, 0)) +",
    ),
    ("the power's exponent", "t = gamma * high", "t = high"),
    ("the rounding error of the exponent", "e + fma(e, t_low, e_low)", "e + e_low"),
    ("a right label at gamma 0", "size = most if size > most else size", "size = size"),
    ("alpha", "share = fma(a, like(x, focus[0])", "share = fma(b, like(x, focus[0])"),
    ("the pull of gamma", "fma(like(side, gamma) * side, pull, slope)", "slope"),
    ("the focal Hessian", "like(side, gamma - 1) * side", "like(side, gamma) * side"),
    ("the side of the accuracy", "(score > middle) & (y[i] > 0.5)", "(score > middle)"),
    ("what is clipped", "(x < bounds[0]) | (x > bounds[1])", "(x < bounds[0])"),
    ("what is counted", "right += np.int32(kept & ", "right += np.int32("),
    ("bfloat16: ties to even", "np.int32(0x7FFF) + even", "np.int32(0x7FFF)"),
    ("bfloat16: NaN", "np.int16(nan if", "np.int16(found if"),
    ("rounding twice", "np.int32(bits | np.int32(wide != value))", "np.int32(bits)"),
    ("float16: ties to even", "+ np.int32(0xFFF) + even", "+ np.int32(0xFFF)"),
    (
        "float16: subnormal numbers",
        "found = subnormal if size < np.int32(0x400)",
        "found = found if size < np.int32(0x400)",
    ),
    (
        "float16: small results",
        "subnormal if size < LEAST_NORMAL_HALF_BITS_32",
        "normal if size < 0",
    ),
    ("float16: overflow", "HALF_INF if size >= OVER_HALF_BITS_32", "HALF_INF if size < 0"),
    ("float16: infinities", "special if size >= HALF_INF", "special if size < 0"),
    ("float16: NaN", "HALF_NAN if size > INF_BITS_32", "HALF_NAN if size < 0"),
    ("float16: the sign", "return np.uint16(found | sign)", "return np.uint16(found)"),
    ("the lanes' tree", "half = (n + 1) // 2", "half = n // 2"),
    ("the row's divisor", "means[row] = total / outputs", "means[row] = total / (outputs + 1)"),
    ("the weights", "slope if w is None else slope * like(c, w[i])", "slope"),
    ("the weights of a logits gradient", "weight *= like(x, w[i])", "weight *= one"),
    (
        "a gradient on its way past the caches",
        "flush(grad, spaces, thread, 0, s, e, 0, n)",
        "pass",
    ),
    ("a Hessian on its way", "flush(hess, spaces, thread, 2, s, e, 0, z.size)", "pass"),
    ("the weights of a loss", "value if w is None else value * like(x, w[i])", "value"),
    ("a line that two blocks share", "_copy_line(space, i, space, 0)", "pass"),
    ("the first elements of a result", "if start == first and shift > 0:", "if False:"),
    ("the last elements of a result", "if stop == last:", "if False:"),
    ("the place of a block in its space", "shift : shift + stop - start]", ": stop - start]"),
    ("a sample's weight", "squares[i] += square * weight", "squares[i] += square"),
    ("a sample's loss", "logs[i] += loss * weight", "logs[i] += loss"),
    ("the other column's error", "square += rest * rest", "square += rest"),
    ("labels of neither class", "(share <= 1) & (is_one | is_zero)", "(share <= 1)"),
    ("weights that are none", "fits & (weight >= 0) & (weight < np.inf)", "fits"),
    ("rows that do not sum to one", "seen[UNEVEN] |= uneven", "pass"),
    ("the last whole line", "while there + i + line <= stop:", "while there + i + line < stop:"),
)


def survives(changed: dict[str, str]) -> bool:
    """Tell whether tests/interpreted.py passes with these sources of some files."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "fastbce"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for name, source in changed.items():
            (copy / "_kernels" / name).write_text(source, encoding="utf-8")
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": directory}
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "interpreted.py")],
            env=environment,
            capture_output=True,
            cwd=directory,
            check=False,
            timeout=300,
        )
    return done.returncode == 0


def main() -> int:
    """Apply every mutation; print and count the survivors."""
    if not survives({}):
        print("tests/interpreted.py fails without a mutation")
        return 1
    paths = (PACKAGE / "_kernels").glob("*.py")
    sources = {path.name: path.read_text(encoding="utf-8") for path in paths}
    failed = 0
    for what, text, replacement in MUTATIONS:
        changed = {n: s.replace(text, replacement) for n, s in sources.items() if text in s}
        if not changed:
            verdict = "NOT FOUND in the sources"
        elif survives(changed):
            verdict = "SURVIVED"
        else:
            verdict = "caught"
        failed += verdict != "caught"
        print(f"{what}: {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
