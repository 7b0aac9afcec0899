"""Write docs/instructions.md: instructions of the kernels' main loops, counted in the assembly.

``python tools/instructions.py`` compiles the kernels anew for this processor and counts, for each
loop, the instructions of its packed body and the elements that one turn of it handles. The counts
depend on the compiler and the processor's features, and on nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import llvmlite.binding
import numba

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from assembly import COMPILE, INTEGER_LOOPS, PACKED, PACKED_INTEGER, innermost_loops

TARGET = Path(__file__).parent.parent / "docs" / "instructions.md"
BITS = {"x": 128, "y": 256, "z": 512}
HEAD = """# Instructions of the main loops

Written by `python tools/instructions.py` for {cpu} with Numba {numba} (LLVM {llvm}). One row for
each compiled combination of dtype, labels, weights and results; `elements` are those of one turn.

| loop | arguments | instructions | elements | a vector of 64 bytes |
| --- | --- | --- | --- | --- |
"""


def shorten(signature: list[str]) -> str:
    """Return the argument types in a few letters."""
    short = []
    for argument in signature:
        array = argument.startswith("array(")
        kind = argument.partition(",")[0].removeprefix("array(") if array else argument
        short.append(kind.replace("float", "f").replace("uint", "u").replace("int", "i"))
    return " ".join(a for a in short if not a.startswith(("UniTuple", "bool")))


def main() -> None:
    """Compile, count and write the table."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-c", COMPILE],
            env={**os.environ, "NUMBA_CACHE_DIR": directory},
            capture_output=True,
            text=True,
            check=True,
        )
    rows = []
    blocks = {n: c for n, c in json.loads(done.stdout).items() if n.endswith("_block")}
    for name, compiled in blocks.items():
        pattern = PACKED_INTEGER if name in INTEGER_LOOPS else PACKED
        for signature, assembly in sorted(compiled, key=lambda found: shorten(found[0])):
            loops = [loop for loop in innermost_loops(assembly) if loop.count(pattern)]
            widths = [max(re.findall(r"%([xyz])mm", "".join(loop.lines))) for loop in loops]
            if not loops:
                continue
            width, loop = max(zip(widths, loops, strict=True), key=lambda pair: pair[0])
            size = 8 if "float64" in signature[0] else 4
            text = "\n".join(loop.lines)
            step = re.search(r"add[lq]\s+\$-?(\d+), %r", text)
            elements = int(step[1]) if step else BITS[width] // 8 // size
            if elements * size > 1024 or elements * size % 16:
                elements = BITS[width] // 8 // size
            count = sum(line.startswith("\t") for line in loop.lines)
            per_vector = count * 64 / (elements * size)
            rows.append(
                f"| `{name}` | `{shorten(signature)}` | {count} | {elements} | {per_vector:.0f} |"
            )
    head = HEAD.format(
        cpu=llvmlite.binding.get_host_cpu_name(),
        numba=numba.__version__,
        llvm=".".join(map(str, llvmlite.binding.llvm_version_info)),
    )
    TARGET.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
