"""Pictures: every kind of table, the numbers beside them, styles that can be told apart."""

import csv
import itertools
import os

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import jinit
from jinit import initializers, stats
from jinit.report import plots
from jinit.results import Table
from jinit.theory._phase import PhaseDiagram

ARMS = ("zeros", "glorot_uniform", "he_normal")


def made(depths=(2, 8), rates=(0.1,), seeds=12):
    """A table as a sweep makes it, in which he_normal diverges on three seeds."""
    rng = np.random.default_rng(0)
    rows = list(itertools.product(depths, rates, ARMS, range(seeds)))
    level = {"zeros": 0.1, "glorot_uniform": 0.8, "he_normal": 0.85}
    accuracy = np.array([level[arm] + 0.02 * rng.normal() for _, _, arm, _ in rows])
    diverged = np.array([arm == "he_normal" and seed < 3 for _, _, arm, seed in rows])
    accuracy[diverged] = np.nan
    columns = {
        "initializer": np.array([arm for _, _, arm, _ in rows], object),
        "depth": np.array([depth for depth, _, _, _ in rows]),
        "learning_rate": np.array([rate for _, rate, _, _ in rows]),
        "seed": np.array([seed for _, _, _, seed in rows]),
        "test_accuracy": accuracy,
        "test_loss": np.where(diverged, np.nan, 1 - accuracy),
        "diverged": diverged,
        "steps_to_target": np.where(accuracy > 0.8, 100.0, np.inf),
    }
    steps = np.array([1, 10, 100, 300])
    curves = {
        name: columns[name][:, None] * np.array([0.2, 0.5, 0.9, 1.0])
        for name in ("test_accuracy", "test_loss")
    }
    axes = ("initializer", "depth", "learning_rate", "seed")
    return Table(columns, axes, curves, steps, {"grid": {"steps": 300, "target_accuracy": 0.8}})


@pytest.mark.parametrize("kind", plots.KINDS)
def test_every_kind_has_a_panel_per_cell_and_takes_an_ax(kind):
    rates = (0.01, 0.1) if kind == "learning_rate_sensitivity" else (0.1,)
    axes = plots.KINDS[kind](made(rates=rates))
    assert [ax.get_title(loc="left") for ax in axes] == ["depth 2", "depth 8"]
    mine = plots.new_axes()
    one = made(rates=rates).select(depth=2)
    assert plots.KINDS[kind](one, ax=mine) is mine
    assert mine.lines or mine.containers
    with pytest.raises(ValueError, match=r"select\(depth"):
        plots.KINDS[kind](made(rates=rates), ax=plots.new_axes())
    with pytest.raises(ValueError, match="initialiser"):
        plots.KINDS[kind](one, across="initialiser")


def test_the_numbers_drawn_are_the_statistics():
    table = made(depths=(2,))
    summaries = {item.arm: item for item in jinit.summarize(table)}
    drawn = {row[0]: row for row in plots.ranking(table).drawn_numbers}
    for arm, item in summaries.items():
        assert drawn[arm][2:] == (item.metric.estimate, item.metric.low, item.metric.high)
    # Best first, diverged runs counted as the worst.
    assert list(drawn) == sorted(summaries, key=lambda arm: -summaries[arm].metric.estimate)
    differences = {row[0]: row for row in plots.paired_differences(table).drawn_numbers}
    for item in jinit.compare(table, baseline="glorot_uniform"):
        assert differences[item.arm][2] == item.result.difference.estimate
    rates = {row[0]: row[2] for row in plots.divergence_rates(table).drawn_numbers}
    assert rates == {"zeros": 0, "glorot_uniform": 0, "he_normal": 0.25}
    curve = [row for row in plots.survival(table).drawn_numbers if row[0] == "zeros"]
    assert {row[2] for row in curve} == {1.0}
    last = [row for row in plots.learning_curves(table).drawn_numbers if row[1] == 300]
    values = np.nan_to_num(table.curves["test_accuracy"][:, -1])
    for arm, _, middle, *_ in last:
        mine = values[table["initializer"] == arm]
        assert middle == pytest.approx(np.median(mine), rel=1e-6)


def test_rows_of_a_forest_carry_their_own_names():
    # The order differs between the cells; each panel names its rows itself.
    table = made()
    flipped = (table["depth"] == 8) & (table["initializer"] == "zeros")
    table.columns["test_accuracy"][flipped] = 0.99
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in plots.ranking(table)]
    assert names[0][-1] == names[1][0] == "zeros"


def test_settled_differences_are_filled():
    ax = plots.paired_differences(made(depths=(2,)))
    faces = [container.lines[0].get_markerfacecolor() for container in ax.containers]
    verdicts = [c.verdict for c in jinit.compare(made(depths=(2,)), baseline="glorot_uniform")]
    assert [face == "white" for face in faces] == [v == "not settled" for v in verdicts]


def test_losses_and_times_that_never_come():
    table = made(depths=(2,))
    table.columns["test_loss"][:] = np.where(table["initializer"] == "zeros", np.nan, 0.5)
    for kind in ("ranking", "paired_differences", "performance_profile", "learning_curves"):
        plots.KINDS[kind](table, "test_loss")
    plots.ranking(table, "steps_to_target")
    with pytest.raises(ValueError, match="curve"):
        plots.learning_curves(table, "steps_to_target")
    with pytest.raises(ValueError, match="learning rates"):
        plots.learning_rate_sensitivity(table)


@pytest.mark.full
def test_a_task_without_accuracy_has_its_pictures(tmp_path):
    table = made(depths=(2,))
    for values in (table.columns, table.curves):
        values["test_accuracy"] = np.full_like(values["test_accuracy"], np.nan)
    table.columns["steps_to_target"][:] = np.nan
    found = {file.stem for file in plots.save_all(table, tmp_path)}
    assert found == set(plots.KINDS) - {"survival", "learning_rate_sensitivity"}


@pytest.mark.full
def test_everything_is_written_with_its_numbers(tmp_path):
    files = plots.save_all(made(rates=(0.01, 0.1)), tmp_path / "new" / "folder")
    assert {file.suffix for file in files} == {".png", ".svg", ".csv"}
    assert {file.stem for file in files} == set(plots.KINDS)
    assert all(file.stat().st_size for file in files)
    with (tmp_path / "new" / "folder" / "ranking.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["panel", "series", "x", "y", "low", "high"]
    assert {row["panel"] for row in rows} == {
        f"depth {depth}, learning rate {rate}" for depth in (2, 8) for rate in (0.01, 0.1)
    }
    again = plots.save_all(made(rates=(0.01, 0.1)), tmp_path / "again")
    for one, other in zip(files, again, strict=True):
        assert one.suffix == ".svg" or one.read_bytes() == other.read_bytes()


def test_what_cannot_be_drawn_is_refused_by_name(tmp_path):
    for draw in (*plots.KINDS.values(), plots.layer_profile, plots.weight_histogram,
                 plots.phase_diagram, plots.prediction):  # fmt: skip
        with pytest.raises(TypeError, match="what to draw: got"):
            draw([1, 2])
    line = PhaseDiagram("tanh", np.array([1.0, 2.0]), np.array([0.1]), None, None)
    with pytest.raises(ValueError, match="phase diagram: got '1 sigma_b and 2 sigma_w'"):
        plots.phase_diagram(line)
    one = stats.Interval(1.0, 0.0, 2.0)
    with pytest.raises(TypeError, match="matplotlib axes, or None"):
        plots.forest("axes", ["a"], [one])
    with pytest.raises(ValueError, match="one interval"):
        plots.forest(None, ["a", "b"], [one])
    with pytest.raises(TypeError, match="matplotlib axes, or None"):
        plots.save("a", tmp_path / "a.png")
    with pytest.raises(TypeError, match="axes that a plot function returned"):
        plots.save(None, tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="a folder, or a new name"):
        plots.save_all(made(), tmp_path / "file")


@pytest.mark.parametrize("value", [1e30, -1e-30, 0.0])
def test_the_histogram_of_equal_entries_is_one_bar(value):
    ax = plots.weight_histogram(initializers.describe(f"constant({value})", (4, 5)))
    heights, edges, _ = ax.patches[0].get_data()
    (place,) = np.flatnonzero(heights)
    assert edges[place] < value < edges[place + 1]
    assert heights[place] * (edges[place + 1] - edges[place]) == pytest.approx(1)


@pytest.mark.slow
def test_a_name_without_an_ending_is_written_as_png_and_svg(tmp_path):
    ax = plots.singular_values(np.array([2.0]))
    names = [file.name for file in plots.save(ax, tmp_path / "one")]
    assert names == ["one.png", "one.svg", "one.csv"]
    # One value has no line: it is a point.
    assert ax.lines[0].get_marker() not in (None, "None")


@pytest.mark.parametrize(
    ("path", "fifo"), [("a.svg", "a.svg"), ("a", "a.svg"), ("a.png", "a.csv"), ("a.b", "")]
)
def test_a_picture_replaces_regular_files_only(path, fifo, tmp_path):
    """Writing to a FIFO waits for a reader."""
    if not fifo:
        (tmp_path / "a.png").symlink_to("new.png")
        assert plots.save(plots.new_axes(), tmp_path / "a.png")[0].name == "a.png"
        assert (tmp_path / "new.png").is_file()
        return
    os.mkfifo(tmp_path / fifo)
    reader = os.open(tmp_path / fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ValueError, match=f"{fifo} is no regular file"):
            plots.save(plots.new_axes(), tmp_path / path)
    finally:
        os.close(reader)
    assert [file.name for file in tmp_path.iterdir()] == [fifo]


def test_singular_values_and_what_they_refuse():
    ax = plots.singular_values(np.random.default_rng(0).random((5, 8)), label="a", log=True)
    assert plots.singular_values(np.ones(8), ax, label="b") is ax
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    with pytest.raises(ValueError, match="NaN"):
        plots.singular_values(np.array([np.nan]))


def test_arms_differ_without_colour_and_for_colour_blind_readers():
    styles = [plots.line_style(number) for number in range(35)]
    assert len({(s["color"], str(s["linestyle"])) for s in styles}) == 35
    # In greyscale the first arms differ by dash where their lightness is close.
    lightness = [np.dot(to_rgb(s["color"]), (0.2126, 0.7152, 0.0722)) for s in styles[:7]]
    for i, j in itertools.combinations(range(7), 2):
        near = abs(lightness[i] - lightness[j]) < 0.12
        assert not near or styles[i]["marker"] != styles[j]["marker"]
        assert not near or str(styles[i]["linestyle"]) != str(styles[j]["linestyle"])


def test_a_metric_that_no_run_has_is_refused_not_drawn_as_zero():
    table = made(depths=(2,))
    for name in ("test_accuracy",):
        table.columns[name][:] = np.nan
        table.curves[name][:] = np.nan
    table.columns["diverged"][:] = False
    for kind in ("learning_curves", "performance_profile", "survival"):
        with pytest.raises(ValueError, match="a metric these runs have"):
            plots.KINDS[kind](table)


def test_one_arm_has_no_paired_differences_and_one_seed_no_interval():
    with pytest.raises(ValueError, match="at least two"):
        plots.paired_differences(made(depths=(2,)).select(initializer="zeros"))
    assert "one seed" in plots.ranking(made(depths=(2,), seeds=1), "test_loss").get_xlabel()
    assert "[95 %]" in plots.ranking(made(depths=(2,)), "test_loss").get_xlabel()


def test_what_is_not_finite_is_said_in_the_legend_and_at_the_margin():
    table = made(depths=(2,))
    table.curves["test_loss"][table["initializer"] == "zeros"] = np.nan
    ax = plots.learning_curves(table, "test_loss")
    labels = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert labels == ["zeros (not finite)", "glorot_uniform", "he_normal"]
    open_ended = plots.forest(None, ["a"], [jinit.stats.Interval(1.0, 0.5, np.inf)])
    assert [text.get_text() for text in open_ended.texts] == ["∞ →"]


def test_long_names_are_shortened_where_they_are_written():
    long = "variance_scaling(scale=2.0, mode=fan_out, distribution=uniform)"
    ax = plots.forest(None, [long], [jinit.stats.Interval(1.0, 0.5, 2.0)])
    (label,) = [text.get_text() for text in ax.get_yticklabels()]
    assert len(label) == 40
    assert label.startswith("variance_scaling")
    assert ax.drawn_numbers[0][0] == long


def test_a_seed_is_one_observation_of_survival():
    """Two seeds with eight orders of the data each give the steps of two observations."""
    times = np.array([2.0] * 8 + [4.0] * 7 + [np.inf])
    columns = {
        "initializer": np.full(16, "a", object),
        "seed": np.repeat([0, 1], 8),
        "data_seed": np.tile(np.arange(8), 2),
        "test_accuracy": np.ones(16),
        "steps_to_target": times,
        "diverged": np.zeros(16, bool),
    }
    axes = ("initializer", "seed", "data_seed")
    table = jinit.results.Table(columns, axes, {}, np.array([1, 10]))
    drawn = {row[1]: row[2:] for row in plots.survival(table).drawn_numbers}
    expected = jinit.stats.kaplan_meier(np.array([2.0, np.inf]), horizon=10.0)
    assert drawn[2.0] == (0.5, expected.low[0], expected.high[0])
    assert 4.0 not in drawn


def test_a_run_that_ended_at_its_target_keeps_its_last_value():
    table = made(depths=(2,), seeds=1)
    table.settings["grid"]["stop_at_target"] = True
    table.columns["steps_to_target"][:] = [10, np.inf, np.inf]
    table.columns["diverged"][:] = [False, False, True]
    table.curves["test_accuracy"][:] = [
        [0.5, 0.9, np.nan, np.nan],
        [0.1, 0.2, 0.3, 0.4],
        [0.6, np.nan, np.nan, np.nan],
    ]
    drawn = plots.learning_curves(table).drawn_numbers
    middle = {arm: [row[2] for row in drawn if row[0] == arm] for arm in ARMS}
    assert middle["zeros"] == [0.5, 0.9, 0.9, 0.9]
    assert middle["glorot_uniform"] == [0.1, 0.2, 0.3, 0.4]
    assert middle["he_normal"] == [0.6, 0, 0, 0]


@pytest.mark.parametrize("kind", sorted(set(plots.KINDS) - {"divergence_rates"}))
def test_cells_and_arms_without_the_metric_are_left_out(kind):
    table = made(rates=(0.1, 0.2))
    lacking = (table["depth"] == 2) | (table["initializer"] == "glorot_uniform")
    for values in (table.columns, table.curves):
        values["test_accuracy"][lacking] = np.nan
    axes = plots.KINDS[kind](table.select(learning_rate=0.1) if "rate" not in kind else table)
    assert not hasattr(axes[0], "drawn_numbers")
    if kind == "paired_differences":
        return
    assert axes[0].texts[0].get_text().startswith("no ")
    assert {row[0] for row in axes[1].drawn_numbers} == {"zeros", "he_normal"}
    if kind != "ranking":
        labels = [text.get_text() for text in axes[0].figure.legends[0].get_texts()]
        assert labels == ["zeros", "he_normal"]


def test_an_arm_that_is_missing_from_a_cell_is_left_out_of_its_panel():
    table = made(rates=(0.1, 0.2))
    table = table.take((table["depth"] == 8) | (table["initializer"] != "zeros"))
    axes = plots.learning_rate_sensitivity(table)
    assert {row[0] for row in axes[0].drawn_numbers} == set(ARMS) - {"zeros"}


def test_curves_of_the_validation_set_and_of_ones_own_have_a_direction():
    table = made(depths=(2,))  # three runs of he_normal are NaN
    for name in ("validation_loss", "test_f1"):
        table.curves[name] = table.curves["test_loss"]
        table.columns[name] = table.columns["test_loss"]
    drawn = [plots.learning_curves(table, name) for name in ("test_loss", "validation_loss")]
    drawn.append(plots.learning_curves(table, "test_f1", higher_is_better=False))
    assert drawn[0].drawn_numbers == drawn[1].drawn_numbers == drawn[2].drawn_numbers
    assert drawn[1].get_yscale() == "log"
    for kind in ("learning_curves", "ranking", "paired_differences", "performance_profile"):
        draw = plots.KINDS[kind]
        with pytest.raises(ValueError, match="higher_is_better"):
            draw(table, "test_f1")
        numbers = draw(table, "test_f1", higher_is_better=False).drawn_numbers
        assert numbers == draw(table, "test_loss").drawn_numbers
    with pytest.raises(TypeError, match="higher_is_better"):
        plots.learning_curves(table, higher_is_better="yes")


def test_a_table_without_curves_has_the_other_pictures(tmp_path):
    table = made(depths=(2,))
    bare = Table(table.columns, table.axes, {}, np.array([]))
    files = plots.save_all(bare, tmp_path, metric="test_loss")
    found = {file.stem for file in files}
    assert found == set(plots.KINDS) - {"learning_curves", "learning_rate_sensitivity"}
    # The last step is that of the last arrival.
    assert max(row[1] for row in plots.survival(bare).drawn_numbers) == 100
