"""The libraries that a reward file or its test plausibly uses, as far as they are modelled."""

import ast
import math
from collections.abc import Callable, Mapping

from overopt.envs.program.functions import FUNCTIONS, arity, simple
from overopt.envs.program.measuring import native
from overopt.envs.program.names import join
from overopt.envs.program.operations import MATH_NAMES, compare, contains, equal, mathematics
from overopt.envs.program.run import Run
from overopt.envs.program.texts import represent, show
from overopt.envs.program.values import (
    EXCEPTIONS,
    ApproxValue,
    ClassValue,
    InertValue,
    InstanceValue,
    MarkValue,
    ModuleValue,
    NativeFunction,
    ProgramError,
    RaisesValue,
    UnsupportedConstruct,
    Value,
    truth,
)


def _function(name: str, low: int, high: int, function: Callable[..., Value]) -> NativeFunction:
    return NativeFunction(name, simple(name, low, high, function))


def _math(run: Run) -> ModuleValue:
    def wrapped(name: str) -> NativeFunction:
        function = mathematics(name)
        return NativeFunction(name, lambda run, arguments, keywords: function(run, arguments))

    names: dict[str, Value] = {name: wrapped(name) for name in MATH_NAMES}
    names |= {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan, "tau": math.tau}
    return ModuleValue("math", names)


def _exit(run: Run, code: Value = None) -> Value:
    raise run.raised(InstanceValue(EXCEPTIONS["SystemExit"], {}, () if code is None else (code,)))


def _sys(run: Run) -> ModuleValue:
    names: dict[str, Value] = {"path": run.search, "argv": run.arguments, "exit": _function("exit", 0, 1, _exit)}
    names |= {name: InertValue(f"sys.{name}") for name in ("stdout", "stderr", "stdin", "modules", "platform")}
    return ModuleValue("sys", names | {"maxsize": 2**63 - 1})


def _path_text(run: Run, path: Value) -> str:
    if not isinstance(path, str):
        run.fail("TypeError", "expected str, bytes or os.PathLike object")
    run.meter.charge(len(path))
    return path


def _folder_name(run: Run, path: Value) -> str:
    folder = _path_text(run, path).rpartition("/")[0]
    return "/" if path.startswith("/") and not folder else folder


def _path_join(run: Run, *parts: Value) -> str:
    joined = ""
    for part in parts:
        text = _path_text(run, part)
        joined = text if text.startswith("/") or not joined else f"{joined.rstrip('/')}/{text}"
        run.meter.text(len(joined))
    return joined


def _absolute(run: Run, path: Value) -> str:
    return join(run.folder, _path_text(run, path))


def _os(run: Run) -> ModuleValue:
    functions: Mapping[str, tuple[int, int, Callable[..., Value]]] = {
        "join": (1, 16, _path_join),
        "dirname": (1, 1, _folder_name),
        "basename": (1, 1, lambda run, path: _path_text(run, path).rpartition("/")[2]),
        "abspath": (1, 1, _absolute),
        "realpath": (1, 1, _absolute),
    }
    path = ModuleValue("os.path", {name: _function(name, *rest) for name, rest in functions.items()})
    # Everything else of os is unsupported when it is used.
    return ModuleValue("os", {"path": path}, inert=True)


def _marks(run: Run) -> MarkValue:
    return MarkValue("mark")


def _approx(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    arity(run, "approx", arguments, 1, 3)
    given = dict(zip(("expected", "rel", "abs"), arguments, strict=False)) | keywords
    if set(given) - {"expected", "rel", "abs"}:
        raise UnsupportedConstruct("approx() with further options")
    if not all(isinstance(value, int | float | None) for value in given.values()) or given["expected"] is None:
        raise UnsupportedConstruct("approx() of something other than a number")
    relative, absolute = given.get("rel"), given.get("abs")
    expected = native(run, float, given["expected"])
    if absolute is not None and relative is None:
        return ApproxValue(expected, 0.0, native(run, float, absolute))
    return ApproxValue(
        expected,
        1e-6 if relative is None else native(run, float, relative),
        1e-12 if absolute is None else native(run, float, absolute),
    )


def _skip(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    reason = arguments[0] if arguments else keywords.get("reason", keywords.get("msg", ""))
    raise run.raised(InstanceValue(EXCEPTIONS["SkipTest"], {}, (reason,)))


def _fail(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    run.fail("AssertionError", arguments[0] if arguments else keywords.get("reason", keywords.get("msg", "")))


def _raises(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    if keywords or len(arguments) != 1:
        raise UnsupportedConstruct("raises() with further options")
    return RaisesValue(arguments[0])


def _pytest(run: Run) -> ModuleValue:
    names: dict[str, Value] = {
        "mark": _marks(run),
        "approx": NativeFunction("approx", _approx),
        "skip": NativeFunction("skip", _skip),
        "fail": NativeFunction("fail", _fail),
        "raises": NativeFunction("raises", _raises),
        "main": NativeFunction("main", _own_tests),
    }
    names |= {
        name: InertValue(f"pytest.{name}") for name in ("fixture", "exit", "importorskip", "param", "warns", "xfail")
    }
    return ModuleValue("pytest", names)


def _own_tests(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    if run.run_main_tests is None:
        raise UnsupportedConstruct("running tests from a test")
    return run.run_main_tests(run)


def _unittest_main(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    return _exit(run, _own_tests(run, arguments, keywords))


def _asserting(name: str, low: int, check: Callable[..., str | None]) -> NativeFunction:
    """A method of TestCase: ``check(run, *arguments)`` gives the complaint, or ``None``; a message may follow."""

    def call(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        given = [*arguments, *([keywords["msg"]] if "msg" in keywords else [])]
        if set(keywords) - {"msg"}:
            raise UnsupportedConstruct(f"{name}() with further options")
        arity(run, name, given, low + 1, low + 2)
        complaint = check(run, *given[1 : low + 1])
        if complaint is not None:
            message = given[low + 1] if len(given) > low + 1 else None
            run.fail("AssertionError", complaint if message is None else f"{complaint} : {show(run, message)}")
        return None

    return NativeFunction(name, call)


def _unless(holds: bool, run: Run, left: Value, words: str, right: Value) -> str | None:
    return None if holds else f"{represent(run, left)} {words} {represent(run, right)}"


def _ordering(name: str, operator: type[ast.cmpop], words: str) -> NativeFunction:
    return _asserting(
        name, 2, lambda run, left, right: _unless(compare(run, operator, left, right), run, left, words, right)
    )


def _almost(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    given = dict(zip(("self", "first", "second", "places", "msg", "delta"), arguments, strict=False)) | keywords
    first, second = given.get("first"), given.get("second")
    if not (isinstance(first, int | float) and isinstance(second, int | float)):
        run.fail("TypeError", "assertAlmostEqual() needs two numbers")
    places, delta = given.get("places"), given.get("delta")
    difference = native(run, lambda: abs(first - second))
    if not isinstance(delta, int | float | None) or not isinstance(places, int | None):
        run.fail("TypeError", "assertAlmostEqual() needs numbers")
    if delta is not None:
        close = difference <= delta
    else:
        close = abs(places or 0) <= 300 and native(run, round, difference, 7 if places is None else places) == 0
    if not (first == second or close):
        run.fail(
            "AssertionError", f"{represent(run, first)} != {represent(run, second)} within {show(run, delta or 7)}"
        )
    return None


def _assert_raises(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    arity(run, "assertRaises", arguments, 2, 64)
    if len(arguments) == 2:
        return RaisesValue(arguments[1])
    expected = arguments[1]
    depth = run.meter.depth
    try:
        run.call(arguments[2], arguments[3:], keywords)
    except ProgramError as error:
        run.meter.depth = depth
        if isinstance(expected, ClassValue) and error.value.cls.descends_from(expected):
            return None
        raise
    run.fail("AssertionError", f"{show(run, expected)} not raised")


def _skip_decorator(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    return MarkValue("skip", tuple(arguments), keywords)


def _skip_if(wanted: bool) -> Callable[[Run, list[Value], dict[str, Value]], Value]:
    def call(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        arity(run, "skip", arguments, 1, 2)
        return MarkValue("skip" if truth(arguments[0]) is wanted else "keep")

    return call


def _test_case_methods() -> dict[str, Value]:
    def nothing(run: Run, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        return None

    plain: dict[str, tuple[int, Callable[..., str | None]]] = {
        "assertTrue": (1, lambda run, value: None if truth(value) else f"{represent(run, value)} is not true"),
        "assertFalse": (1, lambda run, value: f"{represent(run, value)} is not false" if truth(value) else None),
        "assertEqual": (2, lambda run, a, b: _unless(equal(run, a, b), run, a, "!=", b)),
        "assertNotEqual": (2, lambda run, a, b: _unless(not equal(run, a, b), run, a, "==", b)),
        "assertIsNone": (1, lambda run, a: None if a is None else f"{represent(run, a)} is not None"),
        "assertIsNotNone": (1, lambda run, a: "unexpectedly None" if a is None else None),
        "assertIn": (2, lambda run, a, b: _unless(contains(run, b, a), run, a, "not found in", b)),
        "assertNotIn": (2, lambda run, a, b: _unless(not contains(run, b, a), run, a, "unexpectedly found in", b)),
        "assertIsInstance": (2, lambda run, a, b: _unless(_instance(run, a, b), run, a, "is not an instance of", b)),
    }
    names: dict[str, Value] = {name: _asserting(name, count, check) for name, (count, check) in plain.items()}
    names |= {
        "assertGreater": _ordering("assertGreater", ast.Gt, "not greater than"),
        "assertGreaterEqual": _ordering("assertGreaterEqual", ast.GtE, "not greater than or equal to"),
        "assertLess": _ordering("assertLess", ast.Lt, "not less than"),
        "assertLessEqual": _ordering("assertLessEqual", ast.LtE, "not less than or equal to"),
        "assertAlmostEqual": NativeFunction("assertAlmostEqual", _almost),
        "assertRaises": NativeFunction("assertRaises", _assert_raises),
        "fail": NativeFunction("fail", lambda run, arguments, keywords: _fail(run, arguments[1:], keywords)),
        "skipTest": NativeFunction("skipTest", lambda run, arguments, keywords: _skip(run, arguments[1:], keywords)),
        "assertRaisesRegex": InertValue("TestCase.assertRaisesRegex"),
        "subTest": InertValue("TestCase.subTest"),
    }
    names |= {name: NativeFunction(name, nothing) for name in ("setUp", "tearDown")}
    return names


def _instance(run: Run, value: Value, expected: Value) -> bool:
    return bool(run.call(FUNCTIONS["isinstance"], [value, expected]))


def _unittest(run: Run) -> ModuleValue:
    return ModuleValue(
        "unittest",
        {
            "TestCase": TEST_CASE,
            "SkipTest": EXCEPTIONS["SkipTest"],
            "skip": NativeFunction("skip", _skip_decorator),
            "skipIf": NativeFunction("skipIf", _skip_if(True)),
            "skipUnless": NativeFunction("skipUnless", _skip_if(False)),
            "expectedFailure": MarkValue("xfail"),
            "main": NativeFunction("main", _unittest_main),
            "mock": ModuleValue("unittest.mock", {}, inert=True),
        },
    )


TEST_CASE = ClassValue("TestCase", None, _test_case_methods(), sealed=True)

LIBRARIES: Mapping[str, Callable[[Run], ModuleValue]] = {
    "math": _math,
    "sys": _sys,
    "os": _os,
    "pytest": _pytest,
    "unittest": _unittest,
}
