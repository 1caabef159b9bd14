"""Programs that the test itself wrote give what Python gives. No other text is ever executed here."""

import builtins
import math
from random import Random

import pytest

from overopt.envs.program import Limits, Status, run_text

from .generated_programs import Generator

ROOMY = Limits(steps=200_000, work=5_000_000, bits=4_000)
ALLOWED = (
    "abs all any bool dict enumerate float int isinstance len list map max min ord range repr reversed round set sorted"
    " str sum tuple zip Exception ValueError KeyError IndexError RuntimeError AssertionError ZeroDivisionError"
    " __build_class__"
)


def by_python(text: str) -> tuple[str, str]:
    """Output and last line of the traceback under Python itself, with only the names that the generator uses."""
    printed: list[str] = []

    def show(*values, sep=" ", end="\n"):
        printed.append(sep.join(str(value) for value in values) + end)

    names = {name: getattr(builtins, name) for name in ALLOWED.split()}
    names |= {"print": show, "__import__": lambda name, *rest: {"math": math}[name]}
    try:
        exec(text, {"__builtins__": names, "__name__": "__main__"})
    except Exception as error:
        return "".join(printed), f"{type(error).__name__}: {error}".removesuffix(": ")
    return "".join(printed), ""


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_generated_programs_give_what_python_gives(start):
    differences, compared, raised = [], 0, 0
    for seed in range(start, start + 100):
        text = Generator(Random(seed)).program()
        result = run_text(text, limits=ROOMY)
        if result.status is Status.OVER_BUDGET:
            continue
        assert result.status is not Status.UNSUPPORTED, f"{result.reason} in\n{text}"
        output, last = by_python(text)
        ended = result.error.rstrip("\n").split("\n")[-1] if result.error else ""
        compared += 1
        raised += bool(last)
        if (result.output, ended) != (output, last):
            differences.append((seed, result.output[-300:], ended, output[-300:], last))
    assert differences == []
    assert compared >= 95
    assert 5 <= raised <= 95
