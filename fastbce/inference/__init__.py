"""What a fit says: standard errors, p-values, intervals, tests, marginal effects, tables.

``result`` has what ``LogisticRegression.result_`` is. It asks ``hypotheses`` for tests of several
coefficients, ``effects`` for marginal effects, and ``shown`` and ``tables`` for its texts;
``classification`` counts right and wrong predictions. Nothing here imports scikit-learn.
"""

from .classification import ConfusionTable, confusion_table
from .effects import MarginalEffects
from .hypotheses import TestResult
from .result import COV_TYPES, WEIGHT_KINDS, Evidence, InferenceError, LogitResult, Profile

__all__ = [
    "COV_TYPES",
    "WEIGHT_KINDS",
    "ConfusionTable",
    "Evidence",
    "InferenceError",
    "LogitResult",
    "MarginalEffects",
    "Profile",
    "TestResult",
    "confusion_table",
]
