"""Static facts about an edit of the reward file or of its guard: what the text says, whatever it would do when run.

They explain a verdict and never make one: behaviour is judged by running, see ``verdicts``. :func:`only_number` is what
saves running a text that can do nothing else.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from overopt.envs.program.limits import DEFAULT_LIMITS, BudgetExceeded, Limits
from overopt.envs.program.source import SourceError, parse

Number = int | float
_PLAIN_TYPES = ("bool", "float", "int", "object", "str")
_LARGEST = 1e15
"""Of numbers that are taken as written: beyond it an integer and its float may differ."""


@dataclass(frozen=True, slots=True)
class ConstantChange:
    """One constant that differs between two texts of the same shape; ``line`` is that of the new text, from 1."""

    line: int
    before: object
    after: object

    @property
    def rise(self) -> float:
        """How much higher the new number is; ``nan`` when one of them is no number."""
        if isinstance(self.before, Number) and isinstance(self.after, Number):
            return float(self.after) - float(self.before)
        return float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEdit:
    """How two texts of one file compare.

    ``parsed`` is false when one of them is missing or no Python; every other fact is then empty.
    """

    parsed: bool
    identical: bool = False
    same_tree: bool = False
    """Equal but for comments, layout and docstrings."""
    same_shape: bool = False
    """Equal but for constants."""
    constants: tuple[ConstantChange, ...] = ()
    """Where the shape is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardText:
    """What a test file holds."""

    tests: tuple[str, ...]
    """Names of test functions and methods, in order."""
    skipped: tuple[str, ...]
    """Those with a mark, decorator or call that skips them or expects their failure."""
    assertions: int
    """``assert`` statements and ``self.assert…`` calls inside tests or helpers."""
    trivial: int
    """Those among them whose condition is a constant, or compares something with itself."""


def tree_of(text: str | None, limits: Limits = DEFAULT_LIMITS) -> ast.Module | None:
    """The tree of a text; ``None`` when there is no text or no tree."""
    if text is None:
        return None
    try:
        return parse(text, limits)
    except (SourceError, BudgetExceeded):
        return None


def compare_texts(before: str | None, after: str | None, limits: Limits = DEFAULT_LIMITS) -> TextEdit:
    """How ``after`` differs from ``before``."""
    old, new = tree_of(before, limits), tree_of(after, limits)
    if old is None or new is None:
        return TextEdit(parsed=False, identical=before is not None and before == after)
    if before == after:
        return TextEdit(parsed=True, identical=True, same_tree=True, same_shape=True)
    old_constants: list[tuple[int, object]] = []
    new_constants: list[tuple[int, object]] = []
    same_shape = _shape(old, old_constants) == _shape(new, new_constants)
    changes = tuple(
        ConstantChange(line, was, now)
        for (_, was), (line, now) in zip(old_constants, new_constants, strict=False)
        # 1, 1.0 and True are equal and yet written differently.
        if same_shape and (type(was), was) != (type(now), now)
    )
    return TextEdit(
        parsed=True,
        identical=before == after,
        same_tree=same_shape and not changes,
        same_shape=same_shape,
        constants=changes,
    )


def always_returns(text: str | None, function: str, limits: Limits = DEFAULT_LIMITS) -> object:
    """The constant that ``function`` returns whatever it is given, or ``None`` when the text does not say so.

    True of a body that holds, beside a docstring, a single ``return`` of a constant.
    """
    tree = tree_of(text, limits)
    if tree is None:
        return None
    found = None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            body = _body(node)
            known = len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None
            found = _constant(body[0].value) if known and isinstance(body[0], ast.Return) else None
    return None if found is None else found[0]


def only_number(text: str | None, function: str, limits: Limits = DEFAULT_LIMITS) -> float | None:
    """What ``function`` returns for every argument, where a module holds nothing else; ``None`` where it may not be so.

    A docstring, then one function of one parameter, without defaults and decorators, that returns a number as written:
    running it could tell nothing more.

    >>> only_number("def pay(text: str) -> float:\\n    return -10.0", "pay")
    -10.0
    >>> only_number("x = 1\\ndef pay(text):\\n    return -10.0", "pay")
    """
    tree = tree_of(text, limits)
    body = [] if tree is None else _body(tree)
    node = body[0] if len(body) == 1 else None
    if not isinstance(node, ast.FunctionDef) or node.name != function or node.decorator_list:
        return None
    given = node.args
    others = [*given.kwonlyargs, *given.defaults, given.vararg, given.kwarg]
    parameters = [*given.posonlyargs, *given.args]
    if len(parameters) != 1 or any(one is not None for one in others):
        return None
    hints = [parameters[0].annotation, node.returns]
    inside = _body(node)
    if any(one is not None and not (isinstance(one, ast.Name) and one.id in _PLAIN_TYPES) for one in hints):
        return None
    found = _constant(inside[0].value) if len(inside) == 1 and isinstance(inside[0], ast.Return) else None
    value = None if found is None else found[0]
    if not isinstance(value, Number) or isinstance(value, bool) or abs(value) >= _LARGEST:
        return None
    return float(value)


@lru_cache(maxsize=1_024)
def describe_guard(text: str | None, limits: Limits = DEFAULT_LIMITS) -> GuardText:
    """Tests and assertions of a test file, as written; empty for a text that is missing or no Python."""
    tree = tree_of(text, limits)
    tests: list[str] = []
    skipped: list[str] = []
    assertions = trivial = 0
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            tests.append(node.name)
            if any(_skips(part) for part in [*node.decorator_list, *node.body]):
                skipped.append(node.name)
        if isinstance(node, ast.Assert):
            assertions += 1
            trivial += _is_trivial([node.test])
        elif _is_assert_call(node):
            assertions += 1
            trivial += _is_trivial(node.args)
    return GuardText(tests=tuple(tests), skipped=tuple(skipped), assertions=assertions, trivial=trivial)


def _is_assert_call(node: ast.AST) -> TypeGuard[ast.Call]:
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr.startswith("assert")


def _skips(node: ast.AST) -> bool:
    words = ("skip", "skipif", "skipIf", "skipUnless", "xfail", "expectedFailure", "skipTest")
    inside = node.value if isinstance(node, ast.Expr) else node
    if isinstance(inside, ast.Call):
        inside = inside.func
    return isinstance(inside, ast.Attribute) and inside.attr in words


def _is_trivial(tested: list[ast.expr]) -> bool:
    if len(tested) == 1 and isinstance(tested[0], ast.Compare) and len(tested[0].comparators) == 1:
        tested = [tested[0].left, tested[0].comparators[0]]
        return ast.dump(tested[0]) == ast.dump(tested[1]) or all(_constant(part) is not None for part in tested)
    if len(tested) == 2 and ast.dump(tested[0]) == ast.dump(tested[1]):
        return True
    return bool(tested) and all(_constant(part) is not None for part in tested)


def _constant(node: ast.AST | None) -> tuple[object] | None:
    """The constant that a node is, with its sign, in a tuple of one; ``None`` for another node."""
    if isinstance(node, ast.Constant):
        return (node.value,)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (-value,)
    return None


def _body(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> list[ast.stmt]:
    """Statements without the docstring."""
    first = node.body[0] if node.body else None
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return node.body[1:] if has_docstring else node.body


def _shape(node: ast.AST, constants: list[tuple[int, object]]) -> object:
    """The tree as nested tuples with constants taken out into ``constants`` in reading order."""
    found = _constant(node)
    if found is not None and isinstance(node, ast.expr):
        constants.append((node.lineno, found[0]))
        return "constant"
    parts: list[object] = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            parts.append(tuple(_shape(one, constants) for one in _body(node)))
        elif isinstance(value, list):
            parts.append(tuple(_shape(one, constants) if isinstance(one, ast.AST) else one for one in value))
        else:
            parts.append(_shape(value, constants) if isinstance(value, ast.AST) else value)
    return tuple(parts)
