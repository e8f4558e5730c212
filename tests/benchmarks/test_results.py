"""Results: how rounds are compared, goals judged, files read, and pages written."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.goals import GOALS, Goal, judge
from benchmarks.modes import MODES, SERVERS
from benchmarks.parts import PARTS
from benchmarks.records import Record, Results, read
from benchmarks.report import Table, goals, show, tables, write_page
from benchmarks.wire import BenchmarkError


def record(mode: str, *cpu: float, part: str = "messages", step: str = "", **base: str) -> Record:
    rounds = [{"cpu": value} for value in cpu]
    return Record(part=part, server="daphne", mode=mode, step=step, rounds=rounds, **base)


@pytest.fixture
def results() -> Results:
    return Results(
        environment={"Python": "3"},
        records=[
            record("bare", 100, 200, 50, base_mode="bare"),
            record("default", 110, 240, 50, base_mode="bare"),
        ],
    )


# Comparing


def test_a_ratio_is_taken_round_by_round(results: Results) -> None:
    ours = results.records[1]
    assert results.values(ours, "cpu", "ratio") == [1.1, 1.2, 1.0]
    assert results.values(ours, "cpu", "difference", scale=0.1) == [1.0, 4.0, 0.0]
    assert results.values(ours, "cpu", scale=0.1) == [11.0, 24.0, 5.0]


def test_what_everything_is_compared_with_is_compared_with_nothing(results: Results) -> None:
    assert results.values(results.records[0], "cpu", "ratio") == []
    assert results.values(results.records[0], "cpu") == [100, 200, 50]


def test_a_figure_that_was_not_measured_has_no_values(results: Results) -> None:
    assert results.values(results.records[1], "kib") == []


def test_a_step_left_out_is_the_largest(results: Results) -> None:
    results.records = [
        record("hoard", 1, part="state", step="1 KiB"),
        record("hoard", 3, part="state", step="1,024 KiB", base_mode="hoard", base_step="1 KiB"),
    ]
    found = results.find("state", "daphne", "hoard")
    assert found is results.records[1]
    assert results.values(found, "cpu", "ratio") == [3]
    assert results.find("state", "daphne", "hoard", "1 KiB") is results.records[0]
    assert results.find("state", "uvicorn", "hoard") is None


# Goals


@pytest.mark.parametrize(
    ("cpu", "met"),
    [((110, 110, 110), True), ((111, 130, 10), False), ((1, 1, 900), True)],
    ids=["just", "not", "by the median"],
)
def test_a_goal_is_judged_by_the_median(cpu: tuple[float, ...], met: bool) -> None:
    bare = record("bare", 100, 100, 100, base_mode="bare")
    ours = record("default", *cpu, base_mode="bare")
    verdicts = list(judge(Results(environment={}, records=[bare, ours])))
    assert [(one.server, one.met) for one in verdicts if one.goal.mode == "default"] == [
        ("daphne", met)
    ]


def test_more_is_better_where_the_goal_says_so() -> None:
    goal = Goal(title="", part="", mode="", figure="", limit=0.7, at_least=True, unit=" /s")
    assert goal.meets(0.7)
    assert not goal.meets(0.69)
    assert goal.wanted == "≥ 0.7 /s"


def test_a_goal_without_its_mode_is_said_to_be_not_measured(results: Results) -> None:
    results.skipped = ["PostgreSQL: not installed"]
    table = goals(results)
    assert [row[-1] for row in table.rows if "PostgreSQL" in row[0]] == ["not measured"]
    assert table.notes == ["not measured: PostgreSQL: not installed"]


def test_goals_of_parts_that_did_not_run_are_left_out(results: Results) -> None:
    assert {verdict.goal.part for verdict in judge(results)} == {"messages"}
    assert {verdict.server for verdict in judge(results)} == {"daphne"}


def test_goals_name_parts_figures_and_modes_that_there_are() -> None:
    for goal in GOALS:
        assert goal.figure in {column.figure for column in PARTS[goal.part].columns}
        if goal.part != "admin":
            assert goal.mode in MODES
            assert set(goal.servers) <= set(SERVERS)


# Files


def test_what_was_written_is_read(results: Results, tmp_path: Path) -> None:
    results.skipped = ["something: why"]
    results.write(tmp_path / "a.json")
    assert read([tmp_path / "a.json"]) == results


def test_of_a_part_in_several_files_the_last_one_counts(results: Results, tmp_path: Path) -> None:
    results.records.append(record("hoard", 1, part="state"))
    results.write(tmp_path / "a.json")
    later = Results(environment={"Python": "4"}, records=[record("default", 7)])
    later.write(tmp_path / "b.json")
    whole = read([tmp_path / "a.json", tmp_path / "b.json"])
    assert whole.environment == {"Python": "4"}
    assert [(one.part, one.mode) for one in whole.records] == [
        ("state", "hoard"),
        ("messages", "default"),
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"environment": {}}', '{"records": 1}'])
def test_a_file_of_something_else_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=r"other\.json is no file of --json"):
        read([path])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"none\.json"):
        read([tmp_path / "none.json"])


# Tables


def test_the_middle_is_shown_with_the_lowest_and_the_highest() -> None:
    assert show([3, 1, 1000], 1, spread=True) == "3.0 (1.0-1,000.0)"
    assert show([3, 1, 1000], 0, spread=False) == "3"
    assert show([2], 2, spread=True) == "2.00"
    assert show([], 2, spread=True) == "-"


def test_a_table_is_the_same_as_text_and_as_markdown() -> None:
    table = Table(
        name="t",
        title="About `x`",
        rows=[["what", "µs"], ["`bare`", "7"], ["other", "1,000"]],
        words=1,
        notes=["mind this"],
    )
    assert list(table.text()) == [
        "About x",
        "  what      µs",
        "  -----  -----",
        "  bare       7",
        "  other  1,000",
        "  ! mind this",
    ]
    assert list(table.markdown()) == [
        "| what | µs |",
        "| --- | ---: |",
        "| `bare` | 7 |",
        "| other | 1,000 |",
        "",
        "- mind this",
    ]


def test_a_column_without_figures_is_left_out(results: Results) -> None:
    table = next(table for table in tables(results) if table.name == "messages")
    assert table.rows[0] == ["server", "application", "of the bare consumer", "server CPU, µs"]
    assert table.rows[1] == ["daphne", "bare consumer", "-", "100"]
    assert table.rows[2][2:] == ["1.10 (1.00-1.20)", "110"]


@pytest.mark.parametrize(
    ("figures", "warning"),
    [
        ({"client_busy": 0.85, "server_busy": 0.99}, "those of the client"),
        ({"client_busy": 0.1, "server_busy": 0.5}, "did not have its core"),
        ({"client_busy": 0.5, "server_busy": 0.9}, None),
    ],
)
def test_a_client_at_its_limit_is_told_of(figures: dict[str, float], warning: str | None) -> None:
    measured = record("default", 1, base_mode="bare")
    measured.rounds = [{"cpu": 1.0, "per_second": 9.0, **figures}]
    results = Results(environment={}, records=[measured])
    notes = next(table.notes for table in tables(results) if table.name == "messages")
    assert len(notes) == (warning is not None)
    if warning:
        assert warning in notes[0]
        assert notes[0].endswith(": daphne default")


# Pages


def test_tables_go_where_a_page_wants_them(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Before\n<!-- figures: messages -->\nold\n<!-- /figures -->\nbetween\n"
        "<!-- figures: rows -->\nkept\n<!-- /figures -->\n"
        "<!-- figures: environment -->\n<!-- /figures -->\nafter\n"
    )
    write_page(page, tables(results), ["- Python: 3"])
    text = page.read_text()
    assert "old" not in text
    assert "| daphne | bare consumer | - | 100 |" in text
    assert "<!-- figures: rows -->\nkept\n<!-- /figures -->" in text
    assert "<!-- figures: environment -->\n\n- Python: 3\n\n<!-- /figures -->\nafter\n" in text
    write_page(page, tables(results), ["- Python: 3"])
    assert page.read_text() == text


def test_a_page_that_wants_no_table_is_left_alone(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(BenchmarkError, match="no place for a table"):
        write_page(page, tables(results), [])
    assert page.read_text() == "nothing\n"
    with pytest.raises(BenchmarkError, match=r"none\.md cannot be read"):
        write_page(tmp_path / "none.md", tables(results), [])


def test_every_place_of_the_documentation_is_that_of_a_part() -> None:
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    places = {line.split()[2] for line in page.read_text().splitlines() if "<!-- figures:" in line}
    assert places == {"goals", "environment", *PARTS}
