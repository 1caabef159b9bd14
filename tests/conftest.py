"""One thread a process, since tests run in several; the smoke study, run once for all of them by its command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# Before numpy and torch read them: two processes with two threads each would wait for one another.
os.environ |= {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
}

# No test asserts a time, and a machine that others use is slow now and then.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def overopt(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "overopt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory, worker_id) -> tuple[Path, str]:
    """The folder of a finished smoke study, not to be changed, and what the command wrote to the terminal."""
    mine = tmp_path_factory.getbasetemp()
    # Test processes have a folder each in one of the whole test run; the first that asks makes the study.
    place = (mine if worker_id == "master" else mine.parent) / "smoke"
    said = place / "stdout.txt"
    with FileLock(f"{place}.lock"):
        if not said.exists():
            place.mkdir(exist_ok=True)
            result = overopt("run", "--preset", "smoke", "--out", place / "study")
            assert result.returncode == 0, result.stderr
            said.write_text(result.stdout, encoding="utf-8")
    return place / "study", said.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def smoke(smoke_run) -> Path:
    return smoke_run[0]


@pytest.fixture
def smoke_copy(smoke, tmp_path) -> Path:
    """A copy of the finished smoke study, to be changed."""
    return Path(shutil.copytree(smoke, tmp_path / "study"))


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``overopt ARGS`` in this process; exit status, standard output and error."""
    # Not before the threads are set.
    from overopt.cli import main as cli

    monkeypatch.setenv("COLUMNS", "160")

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["overopt", *map(str, args)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def ask(command):
    """The JSON that a command prints."""

    def run(*args):
        status, out, err = command(*args, "--json")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return run


@pytest.fixture
def refused(command):
    """Assert that a command ends with exit status 2 and one sentence that holds some words."""

    def run(*args, words):
        status, out, err = command(*args)
        assert (status, out) == (2, ""), err
        assert err.startswith("overopt: ")
        assert err.count("\n") == 1
        assert words in err

    return run
