"""The table holds one row a curve, cuts no number, and shows no unknown as 0."""

from typing import Any

import pytest
from rich.console import Console

from overopt.errors import DataError
from overopt.reports.terminal import summary_table

Json = dict[str, Any]


def _printed(results: Json, width: int) -> str:
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(summary_table(results, width=width))
    return capture.get().replace("\N{NO-BREAK SPACE}", " ")


def test_a_row_holds_the_numbers_of_its_group(results: Json) -> None:
    for group in results["bon"]:
        group["drop"]["ci"], group["drop"]["drop"] = [0.125, 0.375], 0.25
    row = next(line for line in _printed(results, 200).splitlines() if "width 8, 10,000 pairs " in line)
    for expected in ("n = 8 (1.20)", "+0.25 [+0.12, +0.38]", "over-optimized", "0.520 0.170 0.962"):
        assert expected in row


@pytest.mark.parametrize("width", [80, 93, 120, 200])
def test_no_number_is_cut_on_a_narrow_terminal(results: Json, width: int) -> None:
    text = _printed(results, width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count("[") == text.count("]") == 2 * 16
    assert text.count("0.962") == 16


def test_unknown_numbers_are_dashes(results: Json) -> None:
    results["bon"], results["rl"] = [{"group": "g", "curve": [], "fit": None, "drop": None}], []
    text = _printed(results, 120)
    row = next(line for line in text.splitlines() if line.startswith("g "))
    assert "0" not in row
    assert "no verdict" in row
    assert "–" in row


def test_names_are_not_read_as_markup(results: Json) -> None:
    results["bon"] = [{"group": "[red]x[/red][/]", "curve": []}]
    assert "[red]x[/red][/]" in _printed(results, 160)


def test_a_study_without_curves_has_an_empty_table(results: Json) -> None:
    results["bon"] = results["rl"] = []
    assert summary_table(results).row_count == 0


def test_other_results_are_refused() -> None:
    with pytest.raises(DataError):
        summary_table({"schema": "overopt.fit/1"})
