"""Small data sets that statsmodels, scikit-learn and papers come with, and R's results for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci

if TYPE_CHECKING:
    from cases import Array


def fair() -> tuple[Array, Array]:
    """Return Fair's survey of affairs, one of eight rows, and its variables' groups."""
    sm = pytest.importorskip("statsmodels.api", reason="bundled with statsmodels")
    data = sm.datasets.fair.load_pandas()
    return data.exog.to_numpy()[::8], (data.endog > 0).to_numpy()[::8].astype(int)


def anes96() -> tuple[Array, Array]:
    """Return the American election study of 1996: the vote."""
    sm = pytest.importorskip("statsmodels.api", reason="bundled with statsmodels")
    data = sm.datasets.anes96.load_pandas().data
    return data[["logpopul", "TVnews", "selfLR", "age", "educ"]].to_numpy(), data["vote"].to_numpy()


def breast_cancer() -> tuple[Array, Array]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return data.data[:, [0, 1, 4, 8]], 1 - data.target


DATA = [fair, in_ci(anes96), in_ci(breast_cancer)]


def statsmodels_glm(X: Array, y: Array, *, fit: Any = None, **options: Any) -> Any:
    """Return the fit of a generalised linear model with a constant."""
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    model = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial(), **options)
    return model.fit(tol=1e-14, maxiter=200, tol_criterion="params", **(fit or {}))


# Heinze and Schemper, Statistics in Medicine 21 (2002), table 1: HG by NV, PI, EH, of 79 women with
# a cancer of the endometrium. NV, a vein's growth, separates.
_WOMEN = """
0 13 164 0 0 16 226 0 0 8 314 0 0 34 268 0 0 20 128 0 0 5 231 0 0 17 180 0 0 10 168 0 0 26 156 0
0 17 231 0 0 8 201 0 0 7 189 0 0 20 315 0 0 10 123 0 0 18 127 0 0 16 176 0 0 18 200 0 0 8 264 1
0 29 88 1 0 12 127 1 0 20 137 1 1 38 97 1 1 22 114 1 1 7 88 1 1 25 91 1 1 15 58 1 0 7 97 1
0 28 150 0 0 11 133 0 0 19 237 0 0 10 182 0 0 10 313 0 0 18 131 0 0 14 192 0 0 21 164 0
0 11 201 0 0 17 188 0 0 25 193 0 0 16 211 0 0 19 129 0 0 15 172 0 0 33 75 0 0 24 192 0
0 48 184 1 0 12 111 1 0 19 161 1 0 2 118 1 1 22 144 1 1 40 118 1 1 5 93 1 1 0 117 1 0 21 119 1
0 15 106 1 0 29 202 0 0 15 229 0 0 12 233 0 0 3 290 0 0 20 170 0 0 23 141 0 0 12 225 0
0 22 154 0 0 42 197 0 0 15 175 0 0 13 216 0 0 14 257 0 0 19 137 0 0 12 361 0 0 13 204 0
0 10 217 0 0 12 169 1 1 49 27 1 0 6 184 1 0 5 130 1 0 17 96 1 1 11 101 1 1 21 98 1 0 5 35 1
1 19 102 1 0 33 85 1
"""
ENDOMETRIAL = np.fromstring(_WOMEN, sep=" ").reshape(-1, 4)
ENDOMETRIAL[:, 2] /= 100

# logistf's sex2: urinary tract infections and contraceptives of 239 students. Patterns of age, oc,
# vic, vicl, vis, dia as bits, the number of women without and with an infection.
SEX2 = {
    "000010": (1, 1),
    "001000": (2, 14),
    "001010": (1, 3),
    "001100": (8, 10),
    "001110": (18, 12),
    "001111": (0, 1),
    "010000": (42, 44),
    "010001": (0, 3),
    "010010": (1, 0),
    "011000": (1, 15),
    "011001": (0, 1),
    "011010": (0, 2),
    "011100": (5, 7),
    "011110": (6, 3),
    "101000": (0, 2),
    "101010": (0, 1),
    "101011": (0, 1),
    "101100": (2, 1),
    "101110": (4, 0),
    "101111": (0, 1),
    "110000": (14, 5),
    "110010": (1, 0),
    "111000": (1, 3),
    "111110": (2, 0),
}


def sex2() -> tuple[Array, Array, Array]:
    """Return patterns, labels and how often each occurs."""
    rows = [
        ([int(bit) for bit in pattern], label, count)
        for pattern, counts in SEX2.items()
        for label, count in enumerate(counts)
        if count
    ]
    X, y, count = zip(*rows, strict=True)
    return np.array(X, float), np.array(y), np.array(count)
