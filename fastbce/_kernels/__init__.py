"""Mathematics and loops, compiled: they know no threads, and are stamped together for the cache.

How to read these files: a *point* function is the mathematics of one element; a *block* loop
applies it to whole arrays; a *run* calls block loops piece by piece, where something is summed or
results go past the caches. Outputs and options that are absent are passed as ``None``, and Numba
prunes the branches of a block's absent arguments, so one loop serves a whole family. A result that
is to be written over the first input is passed as ``True``: a loop that gets one array twice cannot
know that and falls back to single elements.

A run's arguments are the thread that it runs on, which names its scratch space, the number of the
first element, and two tuples: the arrays that are cut for it, and the rest.

What keeps the loops packed (tests read the assembly): ``error_model="numpy"``, or each division's
test for zero keeps a loop scalar (36 ms against 3.2 ms for 10^7 elements); no libm call; constants
of the element's own type; ``range(x.size)`` without a start. What keeps the bits the same at every
position, length and vector width: each multiply-add that is fused is written so, there is no
fastmath, and sums run in fixed lanes instead of the vector unit's.
"""
