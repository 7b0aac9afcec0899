"""Binary logistic regression with scikit-learn's interface (extra ``sklearn``).

``estimator`` is what users see, ``fitted`` what it says of samples, ``formula`` the same by way of
formulas. It asks ``objective`` for loss, gradient and Hessian of its samples (``samples`` in
memory, ``stream`` from a source, ``fastbce.interop.dask`` on a cluster) in the ``coordinates`` in
which units and origins of the columns make no difference; ``solvers`` minimises it, ``curvature``
inverts Hessians, and ``infer`` makes standard errors of what was found (``robust`` ones too),
unless ``separation`` shows that the likelihood has no maximum. ``surfaces`` are likelihoods,
Firth's among them, of which ``profile`` and ``firth`` find maxima with some parameters given.
"""

from .estimator import LogisticRegression
from .formula import FormulaFit, fit_formula

__all__ = ["FormulaFit", "LogisticRegression", "fit_formula"]
