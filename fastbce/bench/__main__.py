"""``python -m fastbce.bench PAGE.md ... RESULT.json ...``: write the pages' figures."""

from .report import main

main()
