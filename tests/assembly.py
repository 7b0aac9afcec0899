"""Compile the kernels that reach every loop, and find the innermost loops in their assembly."""

from __future__ import annotations

import re
from typing import NamedTuple

COMPILE = """
import json
import pickle
from pathlib import Path
import numpy as np
import fastbce
from numba.core.registry import cpu_target
from fastbce._engine import samples
from fastbce._kernels.compile import _DIGEST_SIZE, made, source_stamp
from fastbce._operations import OPERATIONS

def assembly_of(library):
    # What comes from the cache is machine code, and the optimised bitcode that it was made of.
    module = library._shared_module if library._disable_inspection else library._final_module
    return str(library._codegen._tm.emit_assembly(module))

def on_disk(dispatcher):
    # A run comes from the cache without its blocks, but they are there as well.
    implementation, files = dispatcher._cache._impl, dispatcher._cache._cache_file
    target = cpu_target.target_context
    names = f"{implementation.filename_base}.{source_stamp()}.*.nbc"
    for path in sorted(Path(dispatcher.stats.cache_path).glob(names)):
        found = implementation.rebuild(target, pickle.loads(path.read_bytes()[_DIGEST_SIZE:]))
        # Others are of another processor.
        if path == files._path((found.signature.args, target.codegen().magic_tuple())):
            yield found

rows = {}
for row in OPERATIONS.values():
    rows.setdefault(row.family, []).append(row)

for dtype in (np.float32, np.float64):
    x = np.full((2, 3), 0.25, dtype)
    turned = np.asfortranarray(x)  # for a short plain call of one number each the bare loop is run
    for family, operations in rows.items():
        calls = {row.results: getattr(fastbce, row.name) for row in operations}
        if not family.is_loss:
            (call,) = calls.values()
            more = len(family.arguments) - 1
            call(x, *[x] * more)
            z = x.copy()
            call(z, *[x] * more, out=z)
            call(turned, *[turned] * more)
            continue
        widest_results = max(calls, key=len)
        widest = calls[widest_results]
        if family.kin is not None:  # the same loops, with more in them
            for results in (("loss",), ("loss", "gradient"), widest_results):
                if results in calls:
                    calls[results](x, x, reduction="none")
            widest(x, x)
            continue
        calls["gradient",](x, x)
        for y in (x, x != 0):
            calls["loss",](x, y)
            calls["loss",](x, y, check_labels=True, metrics=True)
            calls["loss", "gradient"](x, y)
            widest(x, y, reduction="none")
            for results, call in calls.items():
                if "probabilities" in results:
                    call(x, y)
                    call(x, y, reduction="none")
            z = x.copy()
            calls["gradient",](z, y, out=z)
        for reduction in ("none", "mean", "samples"):
            calls["loss", "gradient"](x, x, sample_weight=x, reduction=reduction)
        labels, options = np.arange(6).reshape(2, 3) % 2, {"ignore_index": -1}
        calls["loss", "gradient"](x, labels, mask=labels == 0, **options)
        options.update(pos_weight=[1, 2, 3], label_smoothing=0.1, reduction="none")
        if family.clips:
            options["gradient"] = "torch"
        widest(x, labels, sample_weight=x, **options)
    p = x.ravel()
    for given, weight, eps in ((p, None, None), (p, p, 1e-7), (x.reshape(3, 2), p[:3], 1e-7)):
        samples.sums(given, np.arange(len(given)) % 2, (0, 1), weight, eps)
half = np.full((2, 3), 0.25, np.float16)
fastbce.sigmoid(half)
fastbce.sigmoid_backward(half, half)
fastbce.bce_gradient(half, half)
kernels = {}
for dispatcher in made:
    is_block = dispatcher.__name__.endswith("_block")
    if is_block or dispatcher.__name__.endswith("_run"):
        kernels[dispatcher.__name__] = [
            [[str(kind) for kind in found.signature.args], assembly_of(found.library)]
            for found in (on_disk(dispatcher) if is_block else dispatcher.overloads.values())
        ]
print(json.dumps(kernels))
"""

PACKED = re.compile(r"^\s+v?(?:fn?m\w+|add|sub|mul|div|max|min|cmp\w*|and)p[sd]\s.*%([xyz])mm")
SCALAR = re.compile(r"^\s+v?(?:fn?m\w+|add|sub|mul|div)s[sd]\s")
LIBM = re.compile(r"\b(?:_?_?(?:exp|expm1|log|log1p|log2|pow|fma|fmax|fmin)f?)\b(?!\()")
PACKED_INTEGER = re.compile(r"^\s+v?p(?:cmp|or|and|add|min|max|sll|test)\w*\s.*%[xyz]mm")
# Loops without arithmetic on floats.
INTEGER_LOOPS = {"is_hard_block", "check_unit_block"}


class Loop(NamedTuple):
    """The lines of an innermost loop."""

    lines: list[str]

    def count(self, pattern: re.Pattern[str]) -> int:
        return sum(bool(pattern.match(line)) for line in self.lines)


def innermost_loops(assembly: str) -> list[Loop]:
    """Return the loops that contain no other: from a label to a jump back to it."""
    lines = assembly.splitlines()
    labels = {line.partition(":")[0]: i for i, line in enumerate(lines) if line.startswith(".L")}
    spans = []
    for i, line in enumerate(lines):
        jump = re.match(r"^\s+j\w+\s+(\.L\w+)", line)
        if jump and labels.get(jump[1], i + 1) <= i:
            spans.append((labels[jump[1]], i))
    return [
        Loop(lines[a : b + 1])
        for a, b in spans
        if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in spans)
    ]
