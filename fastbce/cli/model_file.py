"""A fitted model as a JSON file: readable, versioned, and nothing in it is executed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastbce._typing import Array
from fastbce.cli.tables import Feature, Label, TableError

FORMAT = "fastbce logistic regression"
SCHEMA = 1


@dataclass(frozen=True)
class Model:
    """Everything that predicting needs, and what is worth knowing about the fit."""

    target: str
    classes: tuple[Label, Label]
    features: tuple[Feature, ...]
    intercept: float
    coef: tuple[float, ...]
    fit: dict[str, Any] = field(default_factory=dict)

    def decision_function(self, X: Array) -> Array:
        """Return the logits of the rows of a design matrix."""
        return np.asarray(X @ np.array(self.coef) + self.intercept)

    def save(self, path: Path) -> None:
        """Write the model."""
        content = {"format": FORMAT, "schema": SCHEMA, **asdict(self)}
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_whole(path, lambda name: name.write_text(text, encoding="utf-8"))


def load_model(path: Path) -> Model:
    """Read a model.

    Raises
    ------
    TableError
        If the file is missing or is not a model of a known schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TableError(f"{path} is not a model: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TableError(f"{path} is not a model written by fastbce fit")
    if content.get("schema") != SCHEMA:
        raise TableError(
            f"{path} has schema {content.get('schema')!r}; this version reads schema {SCHEMA}"
        )
    try:
        features = tuple(
            Feature(str(f["name"]), None if f["levels"] is None else tuple(map(str, f["levels"])))
            for f in content["features"]
        )
        negative, positive = content["classes"]
        model = Model(
            str(content["target"]),
            (negative, positive),
            features,
            float(content["intercept"]),
            tuple(float(value) for value in content["coef"]),
            dict(content["fit"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} is a damaged model: {type(error).__name__} {error}") from None
    if not all(isinstance(value, Label) for value in model.classes):
        raise TableError(f"{path} is a damaged model: its classes are {model.classes}")
    if not np.all(np.isfinite([model.intercept, *model.coef])):
        raise TableError(f"{path} is a damaged model: a coefficient is not finite")
    if len(model.coef) != sum(len(feature.outputs) for feature in features):
        raise TableError(f"{path} is a damaged model: coefficients and features do not match")
    return model


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name beside it, and rename it when it is complete."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes a private file; give it the permissions of an ordinary one.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
