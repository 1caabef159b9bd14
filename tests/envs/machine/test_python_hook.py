"""``python3`` and ``pytest`` hand text to the interpreter that was passed in, and run nothing."""

import pytest

from overopt.envs.machine import Machine, PythonAnswer, PythonRequest
from overopt.errors import ConfigError


class Recorder:
    def __init__(self) -> None:
        self.requests: list[PythonRequest] = []
        self.read: dict[str, str | None] = {}

    def __call__(self, request: PythonRequest) -> PythonAnswer:
        self.requests.append(request)
        self.read = {path: request.read(path) for path in ("main.py", "../user/main.py", "nothere", "secret")}
        return PythonAnswer("out\n", "err\n", 3)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def machine(recorder) -> Machine:
    machine = Machine(profile="py", interpreter=recorder)
    machine.put("main.py", "print(1)\n")
    machine.put("secret", "x", mode=0)
    return machine


@pytest.mark.parametrize("name", ["python", "python3", "/usr/bin/python3"])
def test_a_file_is_handed_over_as_text(machine, recorder, name):
    result = machine.run(f"{name} main.py -v arg < main.py")
    assert (result.stdout, result.stderr, result.status) == ("out\n", "err\n", 3)
    (request,) = recorder.requests
    assert (request.tool, request.source, request.path) == ("python", "print(1)\n", "main.py")
    assert (request.args, request.stdin) == (("-v", "arg"), "print(1)\n")


def test_it_reads_files_of_the_machine_with_the_models_permissions(machine, recorder):
    machine.run("python3 main.py")
    assert recorder.read == {"main.py": "print(1)\n", "../user/main.py": "print(1)\n", "nothere": None, "secret": None}


def test_programs_from_an_argument_and_from_standard_input(machine, recorder):
    machine.run("python3 -c 'import os; os.system(\"id\")'; echo 'print(2)' | python3; python3 - <<E\nx\nE")
    assert [request.source for request in recorder.requests] == ['import os; os.system("id")', "print(2)\n", "x\n"]
    assert {request.path for request in recorder.requests} == {""}


def test_both_spellings_of_pytest(machine, recorder):
    machine.run("pytest -q tests; python3 -m pytest -q tests")
    assert [(request.tool, request.args) for request in recorder.requests] == [("pytest", ("-q", "tests"))] * 2


def test_a_missing_file_is_a_message_of_python(machine, recorder):
    result = machine.run("python3 nothere.py")
    assert result.stderr == "python3: can't open file '/home/user/nothere.py': [Errno 2] No such file or directory\n"
    assert (result.status, recorder.requests) == (2, [])


def test_the_profile_needs_an_interpreter_and_a_known_name():
    with pytest.raises(ConfigError, match="needs an interpreter"):
        Machine(profile="py")
    with pytest.raises(ConfigError, match="'paper' and 'py'"):
        Machine(profile="full")


def test_the_profile_of_the_paper_has_no_python():
    assert Machine().run("python3 -c 1; pytest").unsupported == ("command python3", "command pytest")
