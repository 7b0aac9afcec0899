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

# (what is broken, text in _kernels/elementwise.py, its replacement)
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
    ("the side of the sigmoid", "base = one if x >= 0 else e", "base = one if x <= 0 else e"),
    (
        "the sign of the gradient",
        "fma(-t, left, (one - t) * right)",
        "fma(t, left, (one - t) * right)",
    ),
    (
        "the sides of the gradient",
        "if positive else (small, large)",
        "if positive else (large, small)",
    ),
    ("the Hessian", "fma(-small, small, small)", "fma(small, small, small)"),
    ("the lower clip bound", "bounds[0] if p < bounds[0] else p", "p"),
    ("the upper clip bound", "bounds[1] if c > bounds[1] else c", "c"),
    ("the clipped gradient", "(c * (like(c, 1) - c))", "(c * (like(c, 1) + c))"),
    ("the rounding error of 1 - c", "c - c if positive else (one - h) - c", "c - c"),
    ("the rounding error of 1 + e", "d_low = e - (d - one)", "d_low = e - e"),
    ("NaN in the logarithm", "c - c if positive", "one - one if positive"),
    ("NaN in the product", "products[i] - products[i])", "0.0)"),
    (
        "the label's wrong side",
        "like(z, 1) - y if z >= 0 else y",
        "like(z, 1) - y if z <= 0 else y",
    ),
    ("an infinite right label", "like(z, 0) if wrong == 0 else abs(z) * wrong", "abs(z) * wrong"),
    ("detection of soft labels", "soft |= np.int32((y[i] != 0) & (y[i] != 1))", "soft |= 0"),
    ("the guard of the product", "bounds[0] < PRODUCT_EPS or", "bounds[0] < 0 or"),
    ("the side of a soft label", "t if low else one - t", "one - t if low else t"),
    ("the smaller side", "small = c if low else one - c", "small = c"),
    ("the odds", "r = small / (one - small)", "r = small / (one + small)"),
    ("soft labels met late in place", "stop if grad is True else", ""),
    ("the place of a gradient", "return source if target is True else target", "return target"),
    ("the mean of the lanes", "np.float64(linear[i]) * TERMS", "np.float64(linear[i])"),
    ("the lower bound of a label", "(y[i] >= 0) & (y[i] <= 1)", "(y[i] <= 1)"),
    ("the upper bound of a label", "(y[i] >= 0) & (y[i] <= 1)", "(y[i] >= 0)"),
    (
        "the tiny e of the product",
        "fma(e, one + products[i], products[i])",
        "(one + e) * (one + products[i]) - one",
    ),
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
        "settle(grad, spaces, index, 0, s, e, start, stop)",
        "pass",
    ),
    ("a Hessian on its way", "settle(hess, spaces, index, 2, s, e, 0, z.size)", "pass"),
    ("the weights of a loss", "value if w is None else value * like(x, w[i])", "value"),
)


# The same in _kernels/results.py.
STORE_MUTATIONS = (
    ("a line that two blocks share", "_copy_line(space, i, space, 0)", "pass"),
    ("the first elements of a result", "if start == first and shift > 0:", "if False:"),
    ("the last elements of a result", "if stop == last:", "if False:"),
    ("the place of a block in its space", "shift : shift + stop - start]", ": stop - start]"),
    ("the last whole line", "while there + i + line <= stop:", "while there + i + line < stop:"),
)


def survives(name: str, source: str) -> bool:
    """Tell whether tests/interpreted.py passes with this source of one file."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "fastbce"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / name).write_text(source, encoding="utf-8")
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
    failed = 0
    for name, mutations in (
        ("_kernels/elementwise.py", MUTATIONS),
        ("_kernels/results.py", STORE_MUTATIONS),
    ):
        source = (PACKAGE / name).read_text(encoding="utf-8")
        if not survives(name, source):
            print(f"{name} fails without a mutation")
            return 1
        for what, text, replacement in mutations:
            if text not in source:
                verdict = "NOT FOUND in the source"
            elif survives(name, source.replace(text, replacement)):
                verdict = "SURVIVED"
            else:
                verdict = "caught"
            failed += verdict != "caught"
            print(f"{what}: {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
