"""What was chosen for the whole process, by a call or by the environment.

One object, so that a test replaces it whole. Each value is written once or by a setter, in one
assignment: threads that read it at the same time find the old value or the new one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Settings:
    """The settings; None where nobody has asked for the value yet."""

    backend: str | None = None
    """The default backend: see :mod:`fastbce._backends`."""
    num_threads: int | None = None
    """How many threads a call may use: see :mod:`fastbce._threads`."""
    most_kept: int | None = None
    """Bytes kept for large results: see :mod:`fastbce._engine.memory`."""


settings = Settings()
