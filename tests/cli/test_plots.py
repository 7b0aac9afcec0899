"""The plots of ``fastbce fit``: what they say, and that everything fits on them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
mpl = pytest.importorskip("matplotlib", reason="the plots are Matplotlib's")
proportion = pytest.importorskip("statsmodels.stats.proportion", reason="intervals of Wilson")
for package in ("pyarrow", "sklearn"):
    pytest.importorskip(package, reason=f"these tests need {package}")

from matplotlib.figure import Figure

from fastbce import cli
from fastbce.cli.plots import MOST_BARS, _ticks, _wilson


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the axes of each plot of a fit."""
    saved: dict[str, Any] = {}
    save = Figure.savefig

    def keep(self: Any, file: Any, **options: Any) -> None:
        save(self, file, **options)
        saved[self.axes[0].get_title().split()[0]] = self.axes[0]

    monkeypatch.setattr(Figure, "savefig", keep)

    def fit(data: Any, *options: str) -> dict[str, Any]:
        data.to_csv(tmp_path / "d.csv", index=False)
        arguments = ["fit", str(tmp_path / "d.csv"), "--plot", str(tmp_path), *options]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cli.main(arguments) == 0
        return saved

    return fit


def frame(rows: int, rate: float, names: list[str]) -> Any:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({name: rng.normal(size=rows) for name in names})
    z = np.log(rate / (1 - rate)) + 1.5 * data[names[0]]
    data["late"] = np.where(rng.random(rows) < 1 / (1 + np.exp(-z)), "yes", "no")
    return data


def inside(axes: Any) -> bool:
    """Return whether all that is drawn lies on the figure."""
    figure = axes.figure
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    across = box.x0 >= -0.01 and box.x1 <= width + 0.01
    return bool(across and box.y0 >= -0.01 and box.y1 <= height + 0.01)


def test_titles_name_target_and_class(drawn: Any) -> None:
    plots = drawn(frame(400, 0.4, ["x", "v"]), "--target", "late", "--positive", "no")
    assert set(plots) == {"ROC", "calibration", "odds"}
    for axes in plots.values():
        assert axes.get_title().endswith("\nlate = no")
        assert inside(axes)
    counts = [text.get_text() for text in plots["calibration"].texts]
    assert sum(int(text.split("/")[1]) for text in counts) == 100
    # Odds ratios are those of the table: for one unit.
    (line, *_), *_ = (container.lines for container in plots["odds"].containers)
    assert line.get_xdata()[-1] == pytest.approx(np.exp(-1.5), rel=0.5)


def test_long_names_and_many_columns(drawn: Any) -> None:
    names = [f"{'a very long name ' * 10} {i}" for i in range(20)]
    names += [f"v{i}" for i in range(20)] + ["$x$ and $y", "v\u00e9rit\u00e9"]
    axes = drawn(frame(600, 0.5, names), "--target", "late")["odds"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == MOST_BARS
    assert "30 most significant of 42" in axes.get_title()
    assert max(map(len, labels)) <= 41
    assert any(label.startswith("a very long") and label.endswith(" 0") for label in labels)
    assert inside(axes)


def test_characters_that_no_font_has_are_a_note(
    drawn: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(frame(200, 0.5, ["x", "\U0001f9ff"]), "--target", "late", "--no-holdout")
    assert capsys.readouterr().err.count("no installed font") <= 1


def test_rare_events_fill_the_plot(drawn: Any) -> None:
    axes = drawn(frame(20_000, 0.002, ["x"]), "--target", "late")["calibration"]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    predicted = axes.containers[0].lines[0].get_xdata()
    low, high = axes.get_xlim()
    assert np.log(predicted.max() / predicted.min()) > 0.5 * np.log(high / low)
    assert inside(axes)


def test_without_held_out_rows_there_are_odds_ratios(drawn: Any) -> None:
    assert set(drawn(frame(300, 0.5, ["x"]), "--target", "late", "--no-holdout")) == {"odds"}


def test_intervals_are_those_of_wilson() -> None:
    ones, rows = np.array([0, 1, 5, 26]), np.array([26, 26, 26, 26])
    middle, half = _wilson(ones / rows, rows.astype(float))
    low, high = proportion.proportion_confint(ones, rows, method="wilson")
    np.testing.assert_allclose(middle - half, low, atol=1e-12)
    np.testing.assert_allclose(middle + half, high, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 4.0), (1e-6, 1e6), (0.99, 1.02), (1.00001, 1.00002), (3e-5, 2.0)]
)
def test_ticks_are_few_and_round(low: float, high: float) -> None:
    ticks = [tick for tick in _ticks(low, high) if low <= tick <= high]
    assert 2 <= len(ticks) <= 13
    assert len({f"{tick:g}" for tick in ticks}) == len(ticks) or high - low < 1e-4


BAD = [
    *(["--features", text] for text in (",", "", "x,x,x", "nobody")),
    *(["--drop", text] for text in ("late", ",", "x,v")),
    *(["--seed", text] for text in ("-1", "1e3", "9" * 40)),
    *(["--C", text] for text in ("0", "nan", "-inf", "1e-400", "1e400", "x")),
    *(["--test-size", text] for text in ("0", "1", "nan", "1e-300", "0.999999")),
    *(["--pool-rare", text] for text in ("-1", "9" * 30, "2.5")),
    *(["--max-iter", text] for text in ("0", "9" * 30)),
    *(["--sep", text] for text in ("", '"', "ab", "é", "\n", "9")),
    *(["--encoding", text] for text in ("base64", "rot13", "utf-7", "", "idna")),
    *(["--na-values", text] for text in ("", ",", "\udcff", "yes")),
    *(["--reference", text] for text in ("x", "=", "x=", "x=17", "late=yes")),
    *(["--weights", text] for text in ("x", "late", "nobody")),
    *(["--positive", text] for text in ("", "maybe")),
    *(["--out", text] for text in ("", "/", "/dev/null/x", "/nobody/m.json")),
    *(["--plot", text] for text in ("", "/dev/null")),
]


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
@pytest.mark.parametrize("options", BAD, ids=lambda options: "=".join(options)[:40])
def test_nothing_a_user_types_ends_in_a_traceback(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "d.csv"
    frame(60, 0.5, ["x", "v"]).to_csv(data, index=False)
    monkeypatch.chdir(tmp_path)
    try:
        code: Any = cli.main(["fit", str(data), "--target", "late", "--no-holdout", *options])
    except SystemExit as stop:
        code = stop.code
    assert code in (0, 2)
    assert data.read_text().startswith("x,v,late\n")
