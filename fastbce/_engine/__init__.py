"""The ``"numba"`` backend: arrays and threads; it knows no loss."""
