"""Source text to syntax tree, refusing before and after the host's parser what could hurt it or the evaluator.

The host's parser is the only code of the host that ever sees model text as Python. It gets no null byte, no lone
surrogate, no long text and no statement that could nest deeper than the limit, and it never compiles or runs.
"""

import ast
import re
import warnings
from functools import lru_cache

from overopt.envs.program.limits import BudgetExceeded, Limits

# Strings and comments are one token each, so that a ruler of dashes in a docstring is not taken for an expression.
# Every alternative is linear: no quantifier is nested in another that could match the same text.
_TOKEN = re.compile(
    r'(?P<string>(?:"""(?:[^"\\]|\\.|"(?!""))*(?:"""|$)|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*(?:\'\'\'|$)'
    r'|"(?:[^"\\\n]|\\.)*"?|\'(?:[^\'\\\n]|\\.)*\'?))'
    r"|(?P<comment>#[^\n]*)|(?P<word>\w+)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<end>[\n;,:])|(?P<other>[^\s])",
    re.DOTALL,
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ELIF_LIMIT = 200
# Tuples and tables, since most nodes are none of these and a union of types would be made anew at every node.
_IN_FUNCTIONS = (ast.Return, ast.Yield, ast.YieldFrom)
_IN_LOOPS = (ast.Break, ast.Continue)
_LOOPS = (ast.For, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_TELLING = frozenset((*_IN_FUNCTIONS, *_IN_LOOPS, *_LOOPS, *_FUNCTIONS, ast.ClassDef, ast.If))
_BARE = (ast.Load, ast.Store, ast.Del, ast.And, ast.Or, ast.operator, ast.unaryop, ast.cmpop)
"""Kinds of nodes that hold nothing: a level of the tree, and no more."""


class SourceError(Exception):
    """The text is no Python. ``line`` and ``column`` count from 1; 0 when unknown."""

    def __init__(self, kind: str, message: str, line: int = 0, column: int = 0, text: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line
        self.column = column
        self.text = text


@lru_cache(maxsize=256)
def parse(text: str, limits: Limits) -> ast.Module:
    """The syntax tree of ``text``; to be read and not changed, since judgements of one text share it.

    Raises
    ------
    SourceError
        If the text is no Python.
    BudgetExceeded
        ``source`` or ``tokens`` for a long text, ``nesting`` for a deep one, ``bits`` or ``text`` for a huge constant.
    """
    if len(text) > limits.source:
        raise BudgetExceeded("source")
    if "\0" in text:
        raise SourceError("SyntaxError", "source code cannot contain null bytes")
    if _SURROGATE.search(text):
        raise SourceError("SyntaxError", "source code cannot contain surrogates")
    _refuse_long_statements(text, limits)
    try:
        # The parser warns about odd escapes; where warnings are errors that would change what is valid Python.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # After an error the parser opens the file of that name to quote its line; no file has the empty name.
            tree = ast.parse(text, filename="")
    except SyntaxError as error:
        kind = type(error).__name__ if type(error).__name__ in ("IndentationError", "TabError") else "SyntaxError"
        lines = text.split("\n")
        number = error.lineno or 0
        shown = lines[number - 1] if 0 < number <= len(lines) else ""
        raise SourceError(kind, error.msg, number, error.offset or 0, shown) from None
    except (RecursionError, MemoryError):
        raise BudgetExceeded("nesting") from None
    except ValueError as error:
        raise SourceError("SyntaxError", str(error)) from None
    _check_tree(tree, limits)
    return tree


def _refuse_long_statements(text: str, limits: Limits) -> None:
    """Bound the depth of the tree by counting tokens without a comma between them, before the parser runs.

    A chain such as ``1+1+…``, ``----…1`` or ``f()()…`` is as deep as it has tokens. Brackets keep the count of what
    stands before them; commas, colons and ends of lines start afresh, and the tree itself is checked afterwards.
    """
    saved: list[int] = []
    count = elifs = 0
    ceiling = 12 * limits.nesting
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number >= limits.tokens:
            raise BudgetExceeded("tokens")
        kind = token.lastgroup
        if kind == "word" or kind == "other":
            count += 1
            if kind == "word" and token[0] == "elif":
                elifs += 1
        elif kind == "string":
            # The prefix is the word before; expressions inside an f-string count by their symbols.
            start = token.start()
            formatted = start > 0 and text[start - 1] in "fFrR" and "{" in token[0]
            count += sum(1 for char in token[0] if not char.isalnum() and not char.isspace()) if formatted else 1
        elif kind == "open":
            saved.append(count)
            count += 1
        elif kind == "close":
            count = (saved.pop() if saved else 0) + 1
        elif kind == "end":
            # A colon inside brackets may be a lambda's, and those chain.
            if token[0] != ":" or not saved:
                count = saved[-1] + 1 if saved else 0
            else:
                count += 1
        if count > ceiling or len(saved) > limits.nesting or elifs > _ELIF_LIMIT:
            raise BudgetExceeded("nesting")


def _check_tree(tree: ast.Module, limits: Limits) -> None:
    """Refuse a deep tree, huge constants and what only the host's compiler would refuse, without recursion."""
    pending: list[tuple[ast.AST, int, bool, bool]] = [(tree, 0, False, False)]
    while pending:
        node, depth, in_function, in_loop = pending.pop()
        if depth > limits.nesting:
            raise BudgetExceeded("nesting")
        kind = type(node)
        if isinstance(node, ast.Constant):
            value = node.value
            if type(value) is int and value.bit_length() > limits.bits:
                raise BudgetExceeded("bits")
            if isinstance(value, str | bytes) and len(value) > limits.text:
                raise BudgetExceeded("text")
            continue
        if kind is ast.Name:
            # Below it is only the bare node that says whether it is read or bound.
            if depth == limits.nesting:
                raise BudgetExceeded("nesting")
            continue
        loop = chained = False
        if kind in _TELLING:
            if isinstance(node, _IN_FUNCTIONS) and not in_function:
                word = "return" if isinstance(node, ast.Return) else "yield"
                raise SourceError("SyntaxError", f"'{word}' outside function", node.lineno, node.col_offset + 1)
            if isinstance(node, _IN_LOOPS) and not in_loop:
                message = "'break' outside loop" if isinstance(node, ast.Break) else "'continue' not properly in loop"
                raise SourceError("SyntaxError", message, node.lineno, node.col_offset + 1)
            loop = isinstance(node, _LOOPS)
            if isinstance(node, _FUNCTIONS):
                in_function, in_loop = True, False
            elif isinstance(node, ast.ClassDef):
                in_function = in_loop = False
            # An elif is written beside its if and executed in a loop, so it counts as no deeper.
            chained = isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
        for name, value in ast.iter_fields(node):
            deeper = depth if chained and name == "orelse" else depth + 1
            looped = in_loop or (loop and name == "body")
            if isinstance(value, ast.AST):
                if not isinstance(value, _BARE):
                    pending.append((value, deeper, in_function, looped))
                elif deeper > limits.nesting:
                    raise BudgetExceeded("nesting")
            elif isinstance(value, list):
                # Of the bare ones only comparisons come in lists, and what they compare is as deep.
                children = [child for child in value if isinstance(child, ast.AST) and not isinstance(child, _BARE)]
                pending += [(child, deeper, in_function, looped) for child in children]
