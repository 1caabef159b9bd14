"""Every attack on the evaluator ends in a named refusal, soon, and before anything large is built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overopt.envs.program import Limits, Status, call_function, run_file, run_tests, run_text
from overopt.errors import ConfigError

OVER, UNSUPPORTED, ERROR = Status.OVER_BUDGET, Status.UNSUPPORTED, Status.ERROR

LONG_KEY = "an integer of more than 60 bits as a key"
ATTACKS = {
    # imports and ways to the host
    "os": ("import os\nos.system('true')", UNSUPPORTED, "os.system"),
    "from os": ("from os import system\nsystem('true')", UNSUPPORTED, "os.system"),
    "subprocess": ("import subprocess\nsubprocess.run(['true'])", UNSUPPORTED, "subprocess.run"),
    "__import__": ("__import__('os').system('true')", UNSUPPORTED, "name __import__"),
    "importlib": ("import importlib\nimportlib.import_module('os')", UNSUPPORTED, "importlib.import_module"),
    "open": ("open('/etc/passwd').read()", UNSUPPORTED, "built-in open"),
    "eval": ("eval('1+1')", UNSUPPORTED, "built-in eval"),
    "exec": ("exec('x = 1')", UNSUPPORTED, "built-in exec"),
    "compile": ("compile('1', '', 'eval')", UNSUPPORTED, "built-in compile"),
    "getattr": ("getattr((), '__cla' + 'ss__')", UNSUPPORTED, "built-in getattr"),
    "globals": ("globals()['__builtins__']", UNSUPPORTED, "built-in globals"),
    "builtins": ("__builtins__", UNSUPPORTED, "name __builtins__"),
    "modules": ("import sys\nsys.modules['os']", UNSUPPORTED, "sys.modules"),
    "environment": ("import os\nprint(os.environ)", UNSUPPORTED, "os.environ"),
    "pickle": ("import pickle\npickle.loads('x')", UNSUPPORTED, "pickle.loads"),
    "base64": ("import base64\nbase64.b64decode('eA==')", UNSUPPORTED, "base64.b64decode"),
    # attribute walks
    "class": ("().__class__.__bases__[0].__subclasses__()", UNSUPPORTED, "attribute __class__"),
    "function globals": ("(lambda: 0).__globals__", UNSUPPORTED, "attribute __globals__"),
    "method owner": ("[].append.__self__", UNSUPPORTED, "attribute __self__"),
    "traceback": ("try:\n    1/0\nexcept Exception as e:\n    e.__traceback__", UNSUPPORTED, "attribute __traceback__"),
    "generator frame": ("(x for x in []).gi_frame", ERROR, ""),
    "loader": ("import math\nmath.__loader__", UNSUPPORTED, "attribute __loader__"),
    "special method": ("class A:\n    def __eq__(self, o): return True", UNSUPPORTED, "name __eq__"),
    "metaclass": ("class A(metaclass=type): pass", UNSUPPORTED, "several bases or a metaclass"),
    "subclass of float": ("class A(float): pass", UNSUPPORTED, "type as a base class"),
    # format strings
    "format attribute": ("'{0.__class__}'.format(1)", UNSUPPORTED, "an attribute or item in a format string"),
    "format item": ("'{0[0]}'.format([1])", UNSUPPORTED, "an attribute or item in a format string"),
    "format map": ("'{a}'.format_map({'a': 1})", UNSUPPORTED, "str.format_map"),
    "f-string attribute": ("f'{().__class__}'", UNSUPPORTED, "attribute __class__"),
    "f-string width": ("f'{1:>999999999}'", OVER, "text"),
    "f-string nested width": ("n = 10**9\nf'{1:{n}}'", OVER, "text"),
    "f-string precision": ("f'{1.5:.999999999f}'", OVER, "text"),
    "format width": ("'{:>999999999}'.format(1)", OVER, "text"),
    "percent width": ("'%999999999d' % 1", OVER, "text"),
    "padding": ("'a'.ljust(10**9)", OVER, "text"),
    "zeros": ("'1'.zfill(10**9)", OVER, "text"),
    # numbers
    "power": ("10**10**10", OVER, "bits"),
    "power of a negative": ("(-3)**99999999", OVER, "bits"),
    "shift": ("1 << 10**9", OVER, "bits"),
    "squaring": ("x = 3\nwhile True: x = x * x", OVER, "bits"),
    "huge literal": ("x = " + "9" * 4_000, OVER, "bits"),
    "huge hexadecimal": ("x = 0x" + "f" * 9_000, OVER, "bits"),
    "digits from text": ("int('9' * 9000)", OVER, "bits"),
    "rounding": ("round(5, -10**9)", OVER, "bits"),
    "modular power": ("pow(3, 10**300, 10**300)", ERROR, ""),
    "colliding keys": ("{k * (2**61 - 1): 0 for k in range(900)}", UNSUPPORTED, LONG_KEY),
    # text and collections
    "long text": ("'a' * 10**9", OVER, "text"),
    "doubling text": ("s = 'ab'\nwhile True: s += s", OVER, "text"),
    "replacing": ("'a' * 5000\nx = ('a' * 5000).replace('a', 'b' * 5000)", OVER, "text"),
    "joining": ("('x' * 5000).join(['a'] * 900)", OVER, "text"),
    "long list": ("[0] * 10**9", OVER, "items"),
    "long range": ("list(range(10**12))", OVER, "items"),
    "doubling list": ("a = [1]\nwhile True: a += a", OVER, "items"),
    "listing characters": ("list('a' * 9999)", OVER, "items"),
    "many texts": ("a = []\nwhile True: a.append('x' * 9999 + str(len(a)))", OVER, "work"),
    "sum of a range": ("sum(range(10**9))", OVER, "steps"),
    "range search": ("0.5 in range(10**12)\nany(x > 10**11 for x in range(10**12))", OVER, "steps"),
    "shared structure": ("a = [1]\nfor i in range(29): a = [a, a]\na == [a]", OVER, "work"),
    "shared structure as key": ("a = (1,)\nfor i in range(29): a = (a, a)\nd = {a: 1}", OVER, "work"),
    "shared structure as text": ("a = [1]\nfor i in range(29): a = [a, a]\nstr(a)", OVER, "work"),
    "cyclic list": ("a = []\na.append(a)\nprint(a)", OVER, "depth"),
    "cyclic comparison": ("a = []\na.append(a)\nb = []\nb.append(b)\na == b", OVER, "depth"),
    "growing while iterating": ("a = [1]\nfor x in a: a.append(x)", OVER, "items"),
    "slow search": ("('a' * 9999).rfind('b' + 'a' * 4999)\n" * 30, OVER, "work"),
    # endless work
    "endless loop": ("while True: pass", OVER, "steps"),
    "nested loops": ("for i in range(10**6):\n    for j in range(10**6): pass", OVER, "steps"),
    "recursion": ("def f(n): return f(n + 1)\nf(0)", OVER, "depth"),
    "mutual recursion": ("f = lambda: g()\ng = lambda: f()\nf()", OVER, "depth"),
    "self application": ("(lambda f: f(f))(lambda f: f(f))", OVER, "depth"),
    "recursion through sorting": ("def f(n): return sorted([1, 2], key=f)\nf(0)", OVER, "depth"),
    "swallowed budget": ("while 1:\n    try:\n        while 1: pass\n    except BaseException: pass", OVER, "steps"),
    "finally after a budget": ("try:\n    10**10**10\nfinally:\n    print('still here')", OVER, "bits"),
    "chained iterators": ("i = iter = map(abs, [1])\nfor n in range(900): i = map(abs, i)\nlist(i)", OVER, ""),
    "own generator": ("g = (next(g) for x in [1])\nnext(g)", ERROR, ""),
    "flood of output": ("while True: print('x' * 900)", OVER, "output"),
    # source texts
    "deep brackets": ("x = " + "(" * 4_000 + ")" * 4_000, OVER, "nesting"),
    "deep lists": ("[" * 150 + "]" * 150, OVER, "nesting"),
    "signs": ("x = " + "-" * 9_000 + "1", OVER, "nesting"),
    "nots": ("x = " + "not " * 2_000 + "1", OVER, "nesting"),
    "long sum": ("x = 1" + "+1" * 4_000, OVER, "nesting"),
    "attribute chain": ("x" + ".a" * 4_000, OVER, "nesting"),
    "call chain": ("f" + "()" * 4_000, OVER, "nesting"),
    "lambda chain": ("lambda: " * 1_200 + "1", OVER, "nesting"),
    "f-string expression": ("f'{" + "-" * 9_000 + "1}'", OVER, "nesting"),
    "deep blocks": ("\n".join(" " * i + "if 1:" for i in range(99)) + "\n" + " " * 99 + "pass", OVER, "nesting"),
    "elif chain": ("if x: pass\n" + "elif x: pass\n" * 700, OVER, "nesting"),
    "long source": ("# " + "x" * 10_000_000, OVER, "source"),
    "many lines": ("x=1\n" * 2_400, OVER, "tokens"),
    "as many lines as allowed": ("a=1\n" * 990 + "while True: pass", OVER, "steps"),
    "long line": ("x = '" + "a" * 1_000_000 + "'", OVER, "source"),
    "null byte": ("x = 1\0", ERROR, ""),
    "lone surrogate": ("x = '\ud800'", ERROR, ""),
    "right-to-left override": ("x = 1 \u202e", ERROR, ""),
    "homoglyph builtin": ("\uff45val('1')", UNSUPPORTED, "built-in eval"),
    "homoglyph attribute": ("().__cl\u0430ss__", UNSUPPORTED, "attribute __cl\u0430ss__"),
    "full-width attribute": ("()._\uff3fclass__", UNSUPPORTED, "attribute __class__"),
    "unfinished": ("def f(:", ERROR, ""),
    "coroutine": ("async def f(): pass", UNSUPPORTED, "async def"),
    "yield": ("def f():\n    yield 1\nf()", UNSUPPORTED, "yield"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_name_and_its_budget_holds(name):
    text, status, reason = ATTACKS[name]
    result = run_text(text)
    assert result.status is status, result
    assert result.reason == reason or not reason
    assert "still here" not in result.output
    assert result.spent <= 1


def test_a_budget_ends_a_call_a_module_and_a_test_file_too():
    files = {"loop.py": "while True: pass\n", "calls.py": "def f(x):\n    while True: pass\n"}
    files["test_loop.py"] = "from calls import f\ndef test_a():\n    f(1)\ndef test_b():\n    pass\n"
    assert run_file(files, "loop.py").reason == "steps"
    assert [result.reason for result in call_function(files, "calls.py", "f", [(1,), (2,)])] == ["steps"]
    assert run_tests(files, "test_loop.py").blocked == "steps"


def test_recursion_within_the_limits_works():
    assert (
        run_text("def f(n): return 1 if n < 2 else n * f(n - 1)\nprint(f(25))").output == "15511210043330985984000000\n"
    )


def test_an_evaluation_deep_in_the_callers_stack_is_refused_and_not_raised():
    def dive(levels):
        return dive(levels - 1) if levels else run_text("def f(n): return f(n + 1)\nf(0)")

    results = set()
    for levels in range(0, 960, 60):
        try:
            results.add((dive(levels).status, dive(levels).reason))
        except RecursionError:
            # The stack ended before the evaluator was reached.
            assert levels > 700
    assert results == {(OVER, "depth")}


def test_a_syntax_error_quotes_the_program_and_no_file_of_the_host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("<unknown>", "<string>", "main.py"):
        (tmp_path / name).write_text("secret of the host\n")
    result = run_text("x = = 1\n")
    assert "x = = 1" in result.error
    assert "secret" not in result.error + run_file({"main.py": "x = = 1\n"}, "main.py").error


def test_odd_escapes_stay_valid_where_warnings_are_errors():
    assert run_text(r"print('\d')").output == "\\d\n"


def test_runs_share_no_state():
    assert run_text("ValueError.x = 1").status is UNSUPPORTED
    assert run_text("import math\nmath.pi = 3").status is UNSUPPORTED
    assert run_text("import unittest\nunittest.TestCase.assertEqual = print").status is UNSUPPORTED
    assert run_text("import sys\nsys.path.append('x')\nprint(len(sys.path))").output == "2\n"
    assert run_text("import sys\nprint(len(sys.path))").output == "1\n"


PRINT_RESULTS = """
from random import Random
from program.generated_programs import Generator, hostile
from overopt.envs.program import run_text
for seed in range(40):
    print(repr(run_text(Generator(Random(seed)).program())), repr(run_text(hostile(Random(seed)))))
print(run_text("print({'b', 'a', 'c', 'e', 'd'}, {x for x in 'hello'})").output)
"""


def test_results_do_not_depend_on_the_hosts_hash_seed():
    folder = str(Path(__file__).parents[1])
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": folder, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            [sys.executable, "-c", PRINT_RESULTS], capture_output=True, env=environment, check=True, timeout=60
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert b"{'b', 'a', 'c', 'e', 'd'}" in outputs.pop()


def test_limits_below_one_are_refused():
    with pytest.raises(ConfigError, match="steps, text"):
        Limits(steps=0, text=-1)
