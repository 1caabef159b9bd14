"""Commands in this process: a second is saved for each."""

import json
import sys

import pytest

from overopt.cli import main as cli


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``overopt ARGS``; exit status, standard output and error."""
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
