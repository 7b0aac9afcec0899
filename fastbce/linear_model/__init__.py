"""Binary logistic regression with scikit-learn's interface (extra ``sklearn``).

``estimator`` is what users see. It asks ``objective`` for loss, gradient and Hessian of its samples
(``samples`` in memory, ``stream`` from a source, ``fastbce.interop.dask`` on a cluster) in the
``coordinates`` in which units and origins of the columns make no difference; ``solvers`` minimises
it, ``curvature`` inverts Hessians, and ``infer`` makes standard errors of what was found, unless
``separation`` shows that the likelihood has no maximum.
"""

from .estimator import LogisticRegression

__all__ = ["LogisticRegression"]
