"""Imports never run upward, not even inside functions."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "overopt"

ROWS = [
    {"errors", "seeding"},
    {"stats"},
    {"records", "protocols"},
    {"hf"},
    {"assets", "envs", "policies", "rewards", "worlds", "measure", "workflow", "reports"},
    {"training"},
    {"optimize"},
    {"studies", "adapters"},
    {"cli"},
]
ROW = {package: row for row, packages in enumerate(ROWS) for package in packages}
LIGHT = {"errors", "seeding", "stats", "records", "protocols", "envs", "worlds", "measure", "workflow", "reports"}
LIGHT |= {"cli"}
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "chitchat_dataset", "vaderSentiment"}


def imported_modules(path: Path) -> list[str]:
    """Every module a file imports, at its top or inside a function."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # "from overopt import stats" imports the module overopt.stats.
            modules += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "overopt" else []
            modules.append(node.module or "")
    return modules


def upward(own: str, modules: list[str]) -> list[str]:
    """Those of ``modules`` that a file of the package ``own`` must not import."""
    found = []
    for module in modules:
        parts = module.split(".")
        if parts[0] != "overopt" or len(parts) < 2 or parts[1] not in ROW or parts[1] == own:
            continue
        if ROW[parts[1]] >= ROW[own]:
            found.append(module)
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem in ROW)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_import_runs_upward(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert own in ROW, f"{own} has no row in the import order"
    assert upward(own, imported_modules(path)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_light_packages_need_nothing_heavy(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    heavy = [module for module in imported_modules(path) if module.split(".")[0] in HEAVY]
    assert own not in LIGHT or heavy == []


def test_an_upward_import_inside_a_function_is_seen(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from overopt.cli.main import main\n    return main\n")
    assert upward("stats", imported_modules(file)) == ["overopt.cli.main"]


def test_packages_of_one_row_do_not_see_each_other(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("import overopt.reports.page\nfrom overopt import workflow\n")
    assert upward("measure", imported_modules(file)) == ["overopt.reports.page", "overopt.workflow"]


def statistics_used(path: Path) -> list[str]:
    """The modules of ``overopt.stats`` that a file imports, at its top or inside a function."""
    return [module for module in imported_modules(path) if module.split(".")[:2] == ["overopt", "stats"]]


def test_worlds_never_import_the_statistics_that_they_judge():
    files = sorted((SOURCE / "worlds").rglob("*.py"))
    assert files
    assert {path.name: found for path in files if (found := statistics_used(path))} == {}


def test_an_import_of_the_statistics_inside_a_function_is_seen(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def truth():\n    from overopt import stats\n    return stats\n")
    assert statistics_used(file) == ["overopt.stats"]
