"""Install the wheel with each extra in an environment of its own, and use it there.

    python -m build
    python tools/try_extras.py

An environment knows nothing of the checkout: what an extra lacks, or the wheel, is found here. The
extras `docs`, `lint` and `test` need files that no wheel has, and work in the unpacked source
distribution. Names of extras as arguments choose some of them, `core` among them. It prints a line
for each, and ends with 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = "fastbce"  # the command, beside the environment's Python

MAKE_CSV = """
import numpy as np
rng = np.random.default_rng(0)
age, ward = rng.normal(60, 9, 300), rng.choice(["general", "heart"], 300)
died = age + 8 * (ward == "heart") + 12 * rng.logistic(size=300) > 66
rows = ["age,ward,died", *(f"{a:.1f},{w},{d:d}" for a, w, d in zip(age, ward, died))]
open("patients.csv", "w").write("\\n".join(rows) + "\\n")
"""
FIT = [PROGRAM, "fit", "patients.csv", "--target", "died", "--out", "model.json", "--plot", "plots"]
SAMPLE = """
import numpy as np
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 3))
y = (X @ [1.0, -1.0, 0.0] + rng.logistic(size=400) > 0).astype(int)
"""

# extra -> what has to work with it: commands, or Python programs where there is no list.
TRIES: dict[str, tuple[str | list[str], ...]] = {
    "core": (
        [PROGRAM, "info"],
        """
import numpy as np, fastbce
z, y = np.array([0.3, -2.0], np.float32), np.array([1, 0])
loss, gradient = fastbce.bce_with_logits_loss_gradient(z, y)
assert abs(float(loss) - np.mean(np.logaddexp(0, [-0.3, -2.0]))) < 1e-6, loss
assert gradient.dtype == np.float32
""",
        [PROGRAM, "check"],
    ),
    "demo": ([PROGRAM, "demo"],),
    "fit": (MAKE_CSV, FIT, [PROGRAM, "predict", "model.json", "patients.csv", "--interval", "0.9"]),
    "formula": (
        SAMPLE
        + """
import pandas as pd
from fastbce.linear_model import fit_formula
data = pd.DataFrame({"y": y, "a": X[:, 0], "b": X[:, 1]})
print(fit_formula("y ~ a + b", data))
""",
    ),
    "excel": (
        MAKE_CSV
        + """
import openpyxl
book = openpyxl.Workbook()
for row in open("patients.csv"):
    cells = row.strip().split(",")
    book.active.append([float(c) if c[0].isdigit() else c for c in cells])
book.save("patients.xlsx")
""",
        [PROGRAM, "fit", "patients.xlsx", "--target", "died"],
    ),
    "sklearn": (
        SAMPLE
        + """
from sklearn.ensemble import HistGradientBoostingClassifier
from fastbce.interop.sklearn import FocalLoss
from fastbce.linear_model import LogisticRegression
print(LogisticRegression(C=float("inf")).fit(X, y).result_.summary())
HistGradientBoostingClassifier(loss=FocalLoss(), max_iter=5).fit(X, y)
""",
    ),
    "boosting": (
        SAMPLE
        + """
import lightgbm, xgboost
from fastbce.interop.boosting import Probabilities, objective
trained = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, y), 3,
                        obj=objective("focal", "xgboost"))
xgboost.XGBClassifier(n_estimators=3, objective=objective("logistic", "xgboost")).fit(X, y)
params = {"objective": objective("focal", "lightgbm"), "verbose": -1}
lightgbm.train(params, lightgbm.Dataset(X, y), 3)
lightgbm.LGBMClassifier(objective=objective("logistic", "lightgbm"), verbose=-1).fit(X, y)
""",
    ),
    "jax": (
        SAMPLE
        + """
import jax
from fastbce.interop.jax import bce_with_logits_loss
value, gradient = jax.jit(jax.value_and_grad(bce_with_logits_loss))(X[:, 0], y)
assert gradient.shape == (400,)
""",
    ),
    "torch": (
        SAMPLE
        + """
import torch
from fastbce.interop.torch import BCEWithLogitsLoss
z = torch.tensor(X[:, 0], requires_grad=True)
BCEWithLogitsLoss()(z, torch.tensor(y)).backward()
assert z.grad.shape == (400,)
""",
    ),
    "dask": (
        SAMPLE
        + """
import dask.array as da
from fastbce.interop.dask import LogisticRegression
model = LogisticRegression(C=float("inf"))
model.fit(da.from_array(X, chunks=(100, 3)), da.from_array(y, chunks=100))
print(model.result_.summary())
""",
    ),
    "bench": (
        [
            *(PROGRAM, "bench", "--quick", "--sizes", "1000", "--rounds", "2", "--peers"),
            *("--plot", "plots", "--json", "times.json"),
        ],
    ),
    "docs": (["python", "-m", "sphinx", "-q", "-W", "-b", "html", "docs", "site"],),
    "lint": (["ruff", "check"], ["mypy", "--version"]),
    "test": (["pytest", "-n", "2", "tests/elementwise/test_semantics.py", "tests/project"],),
}
IN_SOURCES = ("docs", "lint", "test")
FROM_THE_WHEEL = """
import sys, fastbce
assert fastbce.__file__.startswith(sys.prefix), fastbce.__file__
"""


def distribution(pattern: str) -> Path:
    """Return the newest file of its kind in dist/."""
    found = sorted((ROOT / "dist").glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        sys.exit(f"dist/ has no {pattern}: run python -m build first")
    return found[-1]


def try_extra(extra: str, pins: list[str], directory: Path) -> None:
    """Install one extra and run what has to work; raise CalledProcessError where it does not."""
    environment = directory / "environment"
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    # Neither the checkout nor the caller's environment is to be seen.
    known = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    # The folder of the sources is not to be imported in place of the wheel.
    known["PYTHONSAFEPATH"] = "1"
    known["PATH"] = os.pathsep.join([str(scripts), known.get("PATH", os.defpath)])

    def run(*command: str, where: Path = directory) -> None:
        done = subprocess.run(
            command, cwd=where, env=known, capture_output=True, text=True, check=False
        )
        if done.returncode:
            shown = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise ChildProcessError(f"{' '.join(command)} ended with {done.returncode}:\n{shown}")

    run(sys.executable, "-m", "venv", str(environment))
    wheel = str(distribution("*.whl")) + (f"[{extra}]" if extra != "core" else "")
    python = str(scripts / "python")
    run(python, "-m", "pip", "install", "--quiet", wheel, *pins)
    run(python, "-m", "pip", "check")
    where = directory
    if extra in IN_SOURCES:
        with tarfile.open(distribution("*.tar.gz")) as archive:
            archive.extractall(directory, filter="data")
        (where,) = directory.glob("fastbce-*")
        run(python, "-c", FROM_THE_WHEEL, where=where)
    (where / "plots").mkdir()
    for command in TRIES[extra]:
        if isinstance(command, str):
            run(python, "-c", command, where=where)
        else:
            run(str(scripts / command[0]), *command[1:], where=where)


def main() -> None:
    """Try the extras that are named, or all of them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = ["core", *tomllib.load(file)["project"]["optional-dependencies"]]
    if set(extras) != set(TRIES):
        sys.exit(f"extras without a try, or tries of none: {set(extras) ^ set(TRIES)}")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=", ".join(extras))
    parser.add_argument("--pin", action="append", default=[], help="such as torch==2.13.0")
    arguments = parser.parse_args()
    unknown = set(arguments.extras) - set(extras)
    if unknown:
        parser.error(f"no extra {', '.join(sorted(unknown))}; there are {', '.join(extras)}")
    failed = False
    for extra in arguments.extras or extras:
        start = time.perf_counter()
        pins = [pin for pin in arguments.pin if pin.startswith(extra)]
        with tempfile.TemporaryDirectory() as directory:
            try:
                try_extra(extra, pins, Path(directory))
            except ChildProcessError as error:
                failed = True
                print(f"{extra}: FAILED: {error}", flush=True)
            else:
                print(f"{extra}: works, {time.perf_counter() - start:.0f} s", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
