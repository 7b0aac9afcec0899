"""Formulas by formulaic: the same fits as statsmodels' formulas by patsy, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("formulaic", reason="formulas need formulaic")
pandas = pytest.importorskip("pandas", reason="formulas need data frames")

import fastbce
from fastbce.linear_model import fit_formula


@pytest.fixture
def data(rng: np.random.Generator) -> Any:
    n = 600
    group = rng.choice(["red", "green", "blue"], n)
    age = rng.integers(18, 80, n).astype(float)
    z = 0.04 * (age - 45) + np.where(group == "red", 0.8, -0.2) + rng.logistic(size=n)
    return pandas.DataFrame(
        {
            "late": np.where(z > 0, "yes", "no"),
            "age": age,
            "group": group,
            "day": rng.integers(1, 4, n),
            "times": rng.integers(1, 3, n),
        }
    )


FORMULAS = [
    "late ~ age + group",
    "late ~ C(day) * age + group",
    "late ~ age + group - 1",
    "late ~ bs(age, df=4) + group",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_equal_to_statsmodels(formula: str, data: Any) -> None:
    smf = pytest.importorskip("statsmodels.formula.api", reason="compares with statsmodels")
    ours = fit_formula(formula, data)
    numbers = data.assign(late=(data["late"] == "yes").astype(int))
    theirs = smf.logit(formula, numbers).fit(disp=0, method="newton", tol=1e-13)
    # Names are the same, but for the intercept's.
    order = [theirs.params.index.get_loc(_patsy(name)) for name in ours.result_.names]
    np.testing.assert_allclose(ours.result_.params, theirs.params.iloc[order], rtol=1e-6)
    np.testing.assert_allclose(ours.result_.bse, theirs.bse.iloc[order], rtol=1e-6)
    assert ours.result_.llf == pytest.approx(theirs.llf, rel=1e-9)
    rows = data.head(20).drop(columns="late")
    np.testing.assert_allclose(
        ours.predict_proba(rows)[:, 1], theirs.predict(rows).to_numpy(), rtol=1e-6
    )
    assert set(ours.predict(rows)) <= {"yes", "no"}
    assert formula in str(ours)


def _patsy(name: str) -> str:
    if name == "const":
        return "Intercept"
    if name.startswith("bs("):
        place = int(name[name.index("[") + 1 : -1])
        return f"{name[: name.index('[')]}[{place - 1}]"
    return name


def test_a_test_of_a_term(data: Any) -> None:
    ours = fit_formula("late ~ age + group", data)
    columns = [name for name in ours.result_.names if name.startswith("group")]
    assert len(columns) == 2
    assert ours.terms["group"] == tuple(columns)
    assert ours.wald_test("group") == ours.result_.wald_test(columns)
    with pytest.raises(ValueError, match="no term 'colour'; it has age, group"):
        ours.wald_test("colour")


def test_marginal_effects_of_levels_are_from_the_reference(data: Any) -> None:
    ours = fit_formula("late ~ age + group", data)
    effects = ours.marginal_effects(data)
    p = [ours.predict_proba(data.assign(group=level))[:, 1].mean() for level in ("blue", "red")]
    place = effects.names.index("group[T.red]")
    assert effects.effects[place] == pytest.approx(p[1] - p[0], rel=1e-9)
    for formula in ("late ~ age * group", "late ~ bs(age, df=4)", "late ~ age + I(age ** 2)"):
        with pytest.raises(ValueError, match="do not move one by one"):
            fit_formula(formula, data).marginal_effects(data)


def test_rows_with_missing_values_are_left_out(data: Any, rng: np.random.Generator) -> None:
    some = data.copy()
    some.loc[3, "age"] = np.nan
    some.loc[5, "late"] = None
    some.loc[7, "group"] = "only here"
    some.loc[7, "age"] = np.nan
    some.loc[9, "times"] = 1
    weight = rng.integers(1, 4, len(data)).astype(float)
    ours = fit_formula("late ~ age + group", some, sample_weight=weight, offset="age")
    assert ours.dropped == 3
    keep = np.setdiff1d(np.arange(len(data)), [3, 5, 7])
    theirs = fit_formula(
        "late ~ age + group", data.iloc[keep], sample_weight=weight[keep], offset="age"
    )
    np.testing.assert_array_equal(ours.result_.params, theirs.result_.params)
    with pytest.raises(ValueError, match=r"do not fit the formula.*age"):
        ours.design(some)


def test_options_and_clusters(data: Any) -> None:
    ours = fit_formula(
        "late ~ age + group",
        data,
        clusters="age",
        cov_type="cluster",
        sample_weight="times",
    )
    assert ours.result_.clusters == (data["age"].nunique(),)
    assert ours.result_.nobs == data["times"].sum()


@pytest.mark.parametrize(
    ("formula", "match"),
    [
        ("age + group", "text such as 'y ~ a"),
        ("lates ~ age", "left side of a formula is a column of the data, got 'lates'"),
        ("late ~ ages", "ages"),
        ("late ~ age +", r"cannot be understood: .* misplaced. age \+$"),
        ("late ~ 1", "no variable"),
        ("late ~ .", "name the columns that it stands for"),
        ("late ~ age | group", "several parts"),
        # They would give something else for other rows than they gave in the fit, or anything.
        ("late ~ I(age - age.mean())", "'age.mean' in .* is refused"),
        ("late ~ lag(age)", "'lag' in .* is refused"),
        ("late ~ hashed(group, levels=3)", "'hashed' in .* is refused"),
        ("late ~ exp10(age)", "'exp10' in .* is refused"),
        ("late ~ np.cumsum(age)", "'np.cumsum' in .* is refused"),
        ("late ~ np.add.reduce(age)", "'np.add.reduce' in .* is refused"),
        ("late ~ open('x')", "'open' in .* is refused"),
        ("late ~ age + [v for v in (1, 2)]", "is refused|cannot be understood"),
        ("late ~ {age if True else age}", "is refused"),
    ],
)
def test_formulas_that_fail(formula: str, match: str, data: Any) -> None:
    with pytest.raises(ValueError, match=match):
        fit_formula(formula, data)


def test_data_that_do_not_fit(data: Any) -> None:
    ours = fit_formula("late ~ age + group", data)
    for other, match in (
        (data.assign(group="violet"), "violet"),
        (data.drop(columns="age"), "age"),
    ):
        with pytest.raises(ValueError, match=match):
            ours.predict(other)
    with pytest.raises(TypeError, match="data must be a data frame"):
        fit_formula("late ~ age", {"late": [0, 1]})
    with pytest.raises(ValueError, match="is no column of the data"):
        fit_formula("late ~ age", data, offset="nothing")


EVERY_TRANSFORM = (
    "late ~ C(group, contr.sum) * scale(age) + bs(age, 5) + poly(age, 3) + cs(age, df=4) + "
    "cc(age, df=3) + center(bs(age, df=4)) + standardize(times) + C(day, contr.poly) + "
    "np.sqrt(age) + I(age ** 2 > 1000) + Q('times') + group:times"
)


def test_new_rows_have_the_states_of_the_fit_after_saving(data: Any, tmp_path: Path) -> None:
    ours = fit_formula(EVERY_TRANSFORM, data, C=1.0)
    ours.save(tmp_path / "m.json")
    model = fastbce.load(tmp_path / "m.json")
    assert model.names == tuple(ours.design(data).columns)
    for rows in (data.tail(7), data[data.group == "green"].head(3), data.head(1)):
        np.testing.assert_allclose(model.predict_proba(rows), ours.predict_proba(rows), rtol=1e-13)
    assert json.loads((tmp_path / "m.json").read_text())["target"] == "late"


@pytest.mark.parametrize(
    ("formula", "match"),
    [
        ("late ~ C(np.floor(age))", "groups of 'C.np.floor.age..' cannot be kept"),
        ("late ~ C(day) + day", "groups of 'C.day.' cannot be kept"),
        ("late ~ C(half)", "groups of 'C.half.' cannot be kept"),
        ("late ~ I(group == 'red')", "levels of 'group' cannot be kept"),
    ],
)
def test_what_a_file_cannot_keep(formula: str, match: str, data: Any, tmp_path: Path) -> None:
    ours = fit_formula(formula, data.assign(half=data.times / 2), C=1.0)
    with pytest.raises(ValueError, match=match):
        ours.save(tmp_path / "m.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "age + open('x')",
        "age + __import__('os').getcwd()",
        "age + I(().__class__)",
        "age + np.load('x')",
        "age + {(lambda: 1)()}",
        "age + {f'{age}'}",
        "age + C(age)['x']",
    ],
)
def test_a_file_runs_nothing(text: str, data: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    fit_formula("late ~ age", data).save(path)
    content = json.loads(path.read_text())
    content["formula"]["text"] = text
    path.write_text(json.dumps(content))
    refused = r"damaged model: FormulaError .*(is refused|cannot be understood)"
    with pytest.raises(ValueError, match=refused):
        fastbce.load(path)


def test_rows_that_cannot_be_used(data: Any) -> None:
    for more, match in (
        ({"sample_weight": np.ones(3)}, "sample_weight has 3 rows, the data have 600"),
        ({"offset": np.zeros((3, 1))}, "offset has 3 rows, the data have 600"),
    ):
        with pytest.raises(ValueError, match=match):
            fit_formula("late ~ age", data, **more)
    with pytest.raises(ValueError, match="each row has a missing value"):
        fit_formula("late ~ age", data.assign(age=np.nan))
    with pytest.raises(ValueError, match="has no variable"):
        fit_formula("late ~ 1", data)


def test_arrays_follow_the_rows_that_are_kept(data: Any) -> None:
    data.loc[::5, "age"] = np.nan
    ways = (data.day.to_numpy(), data.group.to_numpy())
    ours = fit_formula("late ~ age", data, clusters=ways, cov_type="cluster", offset="times")
    kept = data[data.age.notna()]
    direct = fit_formula(
        "late ~ age",
        kept,
        clusters=tuple(way[data.age.notna()] for way in ways),
        cov_type="cluster",
        offset=kept.times.to_numpy(),
    )
    assert ours.dropped == 120
    np.testing.assert_array_equal(ours.result_.covariance, direct.result_.covariance)
    logits = ours.decision_function(kept, offset=kept.times.to_numpy())
    expected = ours.result_.params @ [np.ones(480), kept.age] + kept.times
    np.testing.assert_allclose(logits, expected, rtol=1e-12, atol=1e-12)
