"""Measures on held-out rows: the area under the ROC curve is that of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

metrics = pytest.importorskip("sklearn.metrics", reason="the right values come from scikit-learn")

from fastbce.cli.holdout import area_under_roc


@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=60
    )
)
def test_area_under_roc(rows: list[Any]) -> None:
    z, y, mass = np.array([*rows, (0, 0, 1), (1, 1, 1)], float).T
    right = metrics.roc_auc_score(y, z, sample_weight=mass)
    assert area_under_roc(z, y, mass) == pytest.approx(right, abs=1e-12)
