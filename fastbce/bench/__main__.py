"""``python -m fastbce.bench README.md RESULT.json ...``: write the README's figures."""

from .report import main

main()
