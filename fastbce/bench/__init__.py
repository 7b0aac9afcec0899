"""The comparison with NumPy, with the peers and with the memory limit, on the user's machine.

``operations`` says what is compared, ``peers`` who else does it, ``twins`` what the memory allows;
``timing`` runs them in turns, ``report`` prints, plots and writes what came out.
"""

from ._run import SIZES, run_bench

__all__ = ["SIZES", "run_bench"]
