"""What the files of a Parquet data set promise, each by itself; and labels that are none."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="an oracle for Parquet")
pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pa = pytest.importorskip("pyarrow", reason="reads Parquet")

from pyarrow import parquet

from fastbce.linear_model import LogisticRegression
from fastbce.linear_model.survey import Survey, checked, encode, survey_of
from fastbce.streaming import ArrayChunks, ParquetChunks


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), path)
    return path


def typed(values: Any, kind: Any) -> Any:
    return pa.array(values).cast(kind)


Y = [0, 1, 1, 0]
WHOLE = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kinds", "dtype"),
    [
        ((pa.int16(), pa.float32()), np.float32),
        ((pa.float16(), pa.bool_()), np.float32),
        ((pa.int8(), pa.int64()), np.float64),
        ((pa.float32(), pa.int32(), pa.float64()), np.float64),
        ((pa.float64(), pa.float32()), np.float64),
        ((pa.int16(), pa.decimal128(25, 3)), np.float64),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", [1, -1])
def test_types_are_agreed_over_all_files(
    kinds: tuple[Any, ...], dtype: Any, order: int, tmp_path: Path
) -> None:
    values = [[1, 0, 1, 1] if pa.types.is_boolean(kind) else WHOLE for kind in kinds]
    pairs = list(zip(kinds, values, strict=True))[::order]
    for i, (kind, numbers) in enumerate(pairs):
        write(tmp_path / f"{i}.parquet", a=typed(numbers, pa.int64()).cast(kind), y=Y)
    source = ParquetChunks(tmp_path, target="y")
    assert source.dtype == dtype
    chunks = list(source)
    assert {X.dtype for X, _ in chunks} == {np.dtype(dtype)}
    read = [pd.read_parquet(tmp_path / f"{i}.parquet").a.astype(float) for i in range(len(kinds))]
    np.testing.assert_array_equal(
        np.concatenate([X[:, 0] for X, _ in chunks]), np.concatenate(read)
    )


def test_a_wide_value_in_the_second_file_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", a=typed(WHOLE, pa.int16()), y=Y)
    write(tmp_path / "2.parquet", a=[16_777_217, 0.1, -(2**53), 1e300], y=Y)
    chunks = list(ParquetChunks(tmp_path, target="y"))
    assert chunks[1][0][:, 0].tolist() == [16_777_217, 0.1, -(2**53), 1e300]


BIG = 2**53 + 1
FILES: list[tuple[dict[str, Any], str]] = [
    ({"a": ["x", "y", "z", "x"]}, r"2\.parquet: column 'a' is of type string; only numbers"),
    ({"a": typed([1, 2, 3, 4], pa.timestamp("s"))}, r"2\.parquet: column 'a' is of type timestamp"),
    ({"b": WHOLE}, r"2\.parquet has no column 'a'; its columns are "),
    (
        {"a": WHOLE, "c": WHOLE},
        r"2\.parquet has a column 'c', which .*1\.parquet has not; .*featur",
    ),
    ({"a": [1, None, 3, 4]}, r"2\.parquet: column 'a' has missing values, the first in row 2;"),
    ({"a": [1.0, 2, float("nan"), 4]}, r"2\.parquet: column 'a' has missing values, .* row 3;"),
    ({"a": [1.0, 2, 3, float("-inf")]}, r"2\.parquet: column 'a' is infinite in row 4"),
    ({"a": [1, 2, BIG, 4]}, rf"2\.parquet: column 'a' holds {BIG} in row 3, which float64 would"),
    ({"a": pa.array([1, 2, 2**64 - 1, 4], pa.uint64())}, rf"holds {2**64 - 1} in row 3"),
    ({"a": [Decimal(1), Decimal(BIG), Decimal(3), Decimal(4)]}, rf"holds {BIG} in row 2"),
    ({"a": WHOLE, "y": ["0", "1", "1", "0"]}, r"2\.parquet: the target 'y' is of type string, but"),
    ({"a": WHOLE, "y": [0, None, 1, 0]}, r"2\.parquet: column 'y' has missing values, .* row 2"),
]


@pytest.mark.parametrize(("columns", "text"), FILES)
def test_files_that_do_not_fit_the_first(
    columns: dict[str, Any], text: str, tmp_path: Path
) -> None:
    write(tmp_path / "1.parquet", a=WHOLE, y=Y)
    write(tmp_path / "2.parquet", **({"y": Y} | columns))
    with pytest.raises(ValueError, match=text):
        list(ParquetChunks(tmp_path, target="y"))


def test_rows_are_counted_from_the_start_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", a=[*range(10), None], y=[0, 1] * 5 + [0])
    with pytest.raises(ValueError, match="the first in row 11;"):
        list(ParquetChunks(tmp_path, target="y", rows=4))
    X = np.ones((10, 2), np.int64)
    X[8, 1] = BIG
    with pytest.raises(ValueError, match=r"X holds 9007199254740993 in row 9 of column 2, which"):
        list(ArrayChunks(X, X[:, 0], rows=4))


def test_other_orders_and_files_without_rows(tmp_path: Path) -> None:
    empty = pd.DataFrame({"other": []})
    empty.to_parquet(tmp_path / "0.parquet")
    write(tmp_path / "1.parquet", a=WHOLE, b=[5, 6, 7, 8], y=Y)
    write(tmp_path / "2.parquet", y=Y, b=[5, 6, 7, 8], a=WHOLE)
    source = ParquetChunks(tmp_path, target="y")
    assert source.feature_names == ["a", "b"]
    (first, _), (second, _) = source
    np.testing.assert_array_equal(first, second)
    write(tmp_path / "none" / "1.parquet", a=pa.array([], pa.int64()), y=pa.array([], pa.int64()))
    with pytest.raises(ValueError, match="gave no rows"):
        LogisticRegression().fit_stream(ParquetChunks(tmp_path / "none", target="y"))


@pytest.mark.parametrize("name", [None, "number"])
def test_the_index_of_pandas_is_no_variable(name: str | None, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4], "y": Y}, index=pd.Index([7, 5, 9, 1], name=name))
    frame.to_parquet(tmp_path / "d.parquet")
    index = name or "__index_level_0__"
    assert index in parquet.read_schema(tmp_path / "d.parquet").names
    assert ParquetChunks(tmp_path, target="y").feature_names == ["a"]
    chosen = ParquetChunks(tmp_path, target="y", features=[index])
    np.testing.assert_array_equal(next(iter(chosen))[0][:, 0], frame.index)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"features": "ab"}, TypeError, "a list of names, got the text 'ab'"),
        ({"features": ["a", "a"]}, ValueError, "names a column twice"),
        ({"features": []}, ValueError, "no column beside"),
        ({"weights": "t"}, ValueError, "'t' is of type string"),
    ],
)
def test_bad_choices(options: Any, error: type[Exception], text: str, tmp_path: Path) -> None:
    file = write(tmp_path / "d.parquet", a=WHOLE, b=WHOLE, t=list("abab"), y=Y)
    with pytest.raises(error, match=text):
        ParquetChunks(file, target="y", **({"features": ["a"]} | options))


@pytest.mark.parametrize(
    "target",
    [
        typed(["no", "yes", "yes", "no"], pa.string_view()),
        pa.array(["no", "yes", "yes", "no"]).dictionary_encode(),
        pa.array([Decimal(v) for v in Y]),
        typed(Y, pa.bool_()),
    ],
    ids=lambda target: str(target.type),
)
def test_targets_of_any_kind(target: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, place = rng.normal(size=400), rng.integers(0, 4, 400)
    # Views cannot be taken from.
    kind = pa.string() if pa.types.is_string_view(target.type) else target.type
    y = target.cast(kind).take(pa.array(place)).cast(target.type)
    file = write(tmp_path / "d.parquet", x=x, y=y)
    model = LogisticRegression().fit_stream(ParquetChunks(file, target="y"))
    other = LogisticRegression().fit(x[:, None], np.array(Y)[place])
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-9)


NO_LABELS: list[tuple[Any, str]] = [
    ([0.0, 1, np.nan, 1], r"y contains nan in row 3, which is no label"),
    ([0.0, np.nan, 0, 0], r"y contains nan in row 2"),
    ([0.0, 1, 1, np.inf], r"y contains inf in row 4"),
    (np.array([0.0, 1, np.nan, 1], np.float32), r"y contains nan in row 3"),
    (np.array([0, None, 1, 1], object), r"y contains None in row 2"),
    (np.array(["a", "b", None, "a"], object), r"y contains None in row 3"),
    (np.array(["a", "b", np.nan, np.nan], object), r"y contains nan in row 3"),
    (np.array([0, 1, pd.NA, 1], object), r"y contains <NA> in row 3"),
    (pd.Series([0, 1, None, 1], dtype="Int64"), r"y contains (<NA>|nan) in row 3"),
    (pd.Series([True, None, False, True], dtype="boolean"), r"y contains (<NA>|nan) in row 2"),
    (pd.Series(["a", "b", "b", None], dtype="str"), r"y contains nan in row 4"),
    (
        np.array(["2020-01-01", "NaT", "2020-01-02"] * 2, "M8[D]")[:4],
        r"y contains None in row 2",
    ),
    ([0.3, 0.7, 0.3, 0.7], r"continuous\. y contains 0\.3 in row 1;"),
    ([0, 1, 1, 0.5], r"continuous\. y contains 0\.5 in row 4;"),
    (np.array([0, 1, 0.5, 1], object), r"continuous\. y contains 0\.5 in row 3;"),
    (np.array([0, "a", 0, "a"], object), r"y mixes text and others: 'a' and 0"),
    (np.array([[0], [1], None, None], object), r"y holds labels that are neither numbers nor text"),
]


@pytest.mark.parametrize(("y", "text"), NO_LABELS)
def test_what_is_no_label_is_named(y: Any, text: str) -> None:
    X = np.arange(8.0).reshape(4, 2)
    good = (X, np.array([0, 1, 0, 1]))
    with pytest.raises(ValueError, match=r"^chunk 2 of the source, from row 5 on: .*" + text):
        LogisticRegression().fit_stream([good, (X, y)])
    with pytest.raises(ValueError, match=r"^" + text if "continuous" not in text else text):
        checked(X, y)
    # In memory and with known classes as well.
    for classes in (None, np.array([0, 1])):
        with pytest.raises(ValueError, match=text):
            encode(y, classes)


def survey(y: Any) -> Survey:
    arrays = checked(np.ones((len(y), 1)), np.array(y))
    assert arrays is not None
    return survey_of(*arrays)


def test_labels_of_all_chunks_are_of_one_kind() -> None:
    with pytest.raises(ValueError, match=r"text in some chunks .*: 0, 1 before, '0', '1' here"):
        survey([0, 1]) + survey(["0", "1"])
    with pytest.raises(ValueError, match="y holds 3 classes, 0, 1, 7"):
        survey([0, 1]) + survey([7, 1])
    assert (survey([False, True]) + survey([0, 1])).classes.tolist() == [0, 1]
    assert (survey([0.0]) + survey([1])).classes.tolist() == [0, 1]


def test_values_in_messages_read_as_values() -> None:
    X = np.arange(4.0)[:, None]
    with pytest.raises(ValueError, match="one class, 1, where"):
        LogisticRegression().fit(X, np.ones(4, int))
    with pytest.raises(ValueError, match=r"y holds 2 in row 3, which is not in classes 0, 1$"):
        encode(np.array([0, 1, 2]), np.array([0, 1]))
    with pytest.raises(
        ValueError, match=r"y holds 'c' in row 1, which is not in classes 'a', 'b'$"
    ):
        encode(np.array(["c", "a"]), np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"classes contains nan in row 2"):
        encode(np.array([0, 0]), np.array([0, np.nan]))
