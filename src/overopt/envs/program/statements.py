"""Effects of statements: one function for each kind of node, and nothing for the kinds that are not in the subset."""

import ast
from collections.abc import Callable, Mapping

from overopt.envs.program.attributes import attribute, set_attribute
from overopt.envs.program.expressions import (
    assign,
    evaluate,
    is_instance,
    make_function,
    test,
)
from overopt.envs.program.imports import import_from, import_module
from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.measuring import advance, collect, iterate
from overopt.envs.program.methods import pairs_of, set_of
from overopt.envs.program.operations import binary, combine_sets, delete_item, item_of, set_item
from overopt.envs.program.run import Returned, Run
from overopt.envs.program.scopes import bind_name, find, unbind_name
from overopt.envs.program.texts import show
from overopt.envs.program.values import (
    EXCEPTIONS,
    MISSING,
    ClassValue,
    InstanceValue,
    ProgramError,
    RaisesValue,
    Scope,
    SetValue,
    UnsupportedConstruct,
    Value,
    type_name,
)

BREAK = "break"
CONTINUE = "continue"


def execute(run: Run, body: list[ast.stmt], scope: Scope) -> object:
    """Carry out ``body``: ``None`` at its end, else the break, continue or return that left it."""
    meter = run.meter
    frame = run.frames[-1]
    for node in body:
        meter.steps_left -= 1
        if meter.steps_left < 0:
            raise BudgetExceeded("steps")
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise UnsupportedConstruct(_NAMES.get(type(node), type(node).__name__))
        frame.line = node.lineno
        meter.depth += 1
        if meter.depth > meter.limits.depth:
            raise BudgetExceeded("depth")
        outcome = handler(run, node, scope)
        meter.depth -= 1
        if outcome is not None:
            return outcome
    return None


def _expression(run: Run, node: ast.Expr, scope: Scope) -> object:
    evaluate(run, node.value, scope)
    return None


def _assign(run: Run, node: ast.Assign, scope: Scope) -> object:
    value = evaluate(run, node.value, scope)
    for target in node.targets:
        assign(run, target, value, scope)
    return None


def _annotated(run: Run, node: ast.AnnAssign, scope: Scope) -> object:
    if node.value is not None:
        assign(run, node.target, evaluate(run, node.value, scope), scope)
    return None


def _combined(run: Run, operator: type[ast.operator], left: Value, right: Value) -> Value:
    """``left operator= right``: lists, dicts and sets change in place."""
    if isinstance(left, list) and operator is ast.Add:
        new = collect(run, right)
        run.meter.items(len(left) + len(new))
        left.extend(new)
        return left
    if isinstance(left, dict) and operator is ast.BitOr:
        new_pairs = pairs_of(run, right)
        run.meter.items(len(left) + len(new_pairs))
        left.update(new_pairs)
        return left
    if isinstance(left, SetValue) and isinstance(right, SetValue):
        combined = combine_sets(run, operator, left, set_of(run, right))
        if combined is not None:
            left.items = combined.items
            return left
    return binary(run, operator, left, right)


def _augmented(run: Run, node: ast.AugAssign, scope: Scope) -> object:
    target, operator = node.target, type(node.op)
    if isinstance(target, ast.Name):
        try:
            old = find(run, target.id, scope)
        except LookupError:
            run.fail("NameError", f"name '{target.id}' is not defined")
        bind_name(run, target.id, _combined(run, operator, old, evaluate(run, node.value, scope)), scope)
    elif isinstance(target, ast.Subscript):
        container = evaluate(run, target.value, scope)
        index = evaluate(run, target.slice, scope)
        old = item_of(run, container, index)
        set_item(run, container, index, _combined(run, operator, old, evaluate(run, node.value, scope)))
    else:
        owner = evaluate(run, target.value, scope)
        old = attribute(run, owner, target.attr)
        set_attribute(run, owner, target.attr, _combined(run, operator, old, evaluate(run, node.value, scope)))
    return None


def _delete(run: Run, node: ast.Delete, scope: Scope) -> object:
    for target in node.targets:
        if isinstance(target, ast.Name):
            unbind_name(run, target.id, scope)
        elif isinstance(target, ast.Subscript):
            container = evaluate(run, target.value, scope)
            delete_item(run, container, evaluate(run, target.slice, scope))
        else:
            raise UnsupportedConstruct("del of an attribute")
    return None


def _if(run: Run, node: ast.If, scope: Scope) -> object:
    # A chain of elif is walked here, so that its length does not add to the host's stack.
    while True:
        if test(run, node.test, scope):
            return execute(run, node.body, scope)
        rest = node.orelse
        if len(rest) == 1 and isinstance(rest[0], ast.If):
            node = rest[0]
            run.frames[-1].line = node.lineno
        else:
            return execute(run, rest, scope)


def _while(run: Run, node: ast.While, scope: Scope) -> object:
    while test(run, node.test, scope):
        run.meter.step()
        outcome = execute(run, node.body, scope)
        if outcome is BREAK:
            return None
        if isinstance(outcome, Returned):
            return outcome
    return execute(run, node.orelse, scope)


def _for(run: Run, node: ast.For, scope: Scope) -> object:
    source = iterate(run, evaluate(run, node.iter, scope))
    while (item := advance(run, source)) is not MISSING:
        run.meter.step()
        assign(run, node.target, item, scope)
        outcome = execute(run, node.body, scope)
        if outcome is BREAK:
            return None
        if isinstance(outcome, Returned):
            return outcome
    return execute(run, node.orelse, scope)


def _return(run: Run, node: ast.Return, scope: Scope) -> object:
    return Returned(None if node.value is None else evaluate(run, node.value, scope))


def _function(run: Run, node: ast.FunctionDef, scope: Scope) -> object:
    decorators = [evaluate(run, decorator, scope) for decorator in node.decorator_list]
    value: Value = make_function(run, node.name, node.args, node.body, scope)
    for decorator in reversed(decorators):
        value = run.call(decorator, [value])
    bind_name(run, node.name, value, scope)
    return None


def _class(run: Run, node: ast.ClassDef, scope: Scope) -> object:
    if node.keywords or len(node.bases) > 1:
        raise UnsupportedConstruct("several bases or a metaclass")
    base = None
    if node.bases:
        base = evaluate(run, node.bases[0], scope)
        if not isinstance(base, ClassValue):
            raise UnsupportedConstruct(f"{type_name(base)} as a base class")
    decorators = [evaluate(run, decorator, scope) for decorator in node.decorator_list]
    inner = Scope({}, scope.module, scope)
    execute(run, node.body, inner)
    value: Value = ClassValue(node.name, base, inner.names)
    for decorator in reversed(decorators):
        value = run.call(decorator, [value])
    bind_name(run, node.name, value, scope)
    return None


def _assert(run: Run, node: ast.Assert, scope: Scope) -> object:
    if not test(run, node.test, scope):
        arguments = () if node.msg is None else (evaluate(run, node.msg, scope),)
        raise run.raised(InstanceValue(EXCEPTIONS["AssertionError"], {}, arguments))
    return None


def _raise(run: Run, node: ast.Raise, scope: Scope) -> object:
    if node.exc is None:
        if not run.handled:
            run.fail("RuntimeError", "No active exception to reraise")
        raise run.raised(run.handled[-1])
    value = evaluate(run, node.exc, scope)
    if node.cause is not None:
        evaluate(run, node.cause, scope)
    if isinstance(value, ClassValue) and value.descends_from(EXCEPTIONS["BaseException"]):
        value = run.call(value, [])
    if not is_instance(run, value, EXCEPTIONS["BaseException"]):
        run.fail("TypeError", "exceptions must derive from BaseException")
    raise run.raised(value)


def _try(run: Run, node: ast.Try, scope: Scope) -> object:
    # Budgets and unsupported constructs end the run: they pass through here without running any clause.
    depth = run.meter.depth
    try:
        outcome = _try_and_handle(run, node, scope)
    except ProgramError:
        run.meter.depth = depth
        final = execute(run, node.finalbody, scope)
        if final is not None:
            return final
        raise
    final = execute(run, node.finalbody, scope)
    return final if final is not None else outcome


def _try_and_handle(run: Run, node: ast.Try, scope: Scope) -> object:
    depth = run.meter.depth
    try:
        outcome = execute(run, node.body, scope)
    except ProgramError as error:
        run.meter.depth = depth
        for handler in node.handlers:
            if handler.type is not None and not is_instance(
                run, error.value, _exception_types(run, evaluate(run, handler.type, scope))
            ):
                continue
            if handler.name is not None:
                bind_name(run, handler.name, error.value, scope)
            run.handled.append(error.value)
            try:
                outcome = execute(run, handler.body, scope)
            finally:
                run.handled.pop()
            if handler.name is not None and handler.name in scope.names:
                unbind_name(run, handler.name, scope)
            return outcome
        raise
    return execute(run, node.orelse, scope) if outcome is None else outcome


def _exception_types(run: Run, value: Value) -> Value:
    for one in value if isinstance(value, tuple) else (value,):
        if not (isinstance(one, ClassValue) and one.descends_from(EXCEPTIONS["BaseException"])):
            run.fail("TypeError", "catching classes that do not inherit from BaseException is not allowed")
    return value


def _with(run: Run, node: ast.With, scope: Scope) -> object:
    if len(node.items) != 1:
        raise UnsupportedConstruct("with several managers")
    manager = evaluate(run, node.items[0].context_expr, scope)
    if not isinstance(manager, RaisesValue):
        raise UnsupportedConstruct("with, except for raises()")
    caught = InstanceValue(ClassValue("ExceptionInfo", None, {}, sealed=True))
    name = node.items[0].optional_vars
    if name is not None:
        assign(run, name, caught, scope)
    depth = run.meter.depth
    try:
        outcome = execute(run, node.body, scope)
    except ProgramError as error:
        run.meter.depth = depth
        if not is_instance(run, error.value, _exception_types(run, manager.expected)):
            raise
        caught.names |= {"value": error.value, "exception": error.value}
        return None
    if outcome is None:
        run.fail("AssertionError", f"DID NOT RAISE {show(run, manager.expected)}")
    return outcome


def _import(run: Run, node: ast.Import, scope: Scope) -> object:
    for alias in node.names:
        module, first = import_module(run, alias.name)
        bind_name(run, alias.asname or alias.name.partition(".")[0], module if alias.asname else first, scope)
    return None


def _import_from(run: Run, node: ast.ImportFrom, scope: Scope) -> object:
    if node.level:
        run.fail("ImportError", "attempted relative import with no known parent package")
    for name, value in import_from(run, node.module or "", [(alias.name, alias.asname) for alias in node.names]):
        bind_name(run, name, value, scope)
    return None


def _nothing(run: Run, node: ast.stmt, scope: Scope) -> object:
    return None


def _break(run: Run, node: ast.Break, scope: Scope) -> object:
    return BREAK


def _continue(run: Run, node: ast.Continue, scope: Scope) -> object:
    return CONTINUE


_HANDLERS: Mapping[type[ast.stmt], Callable[..., object]] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Delete: _delete,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.Return: _return,
    ast.FunctionDef: _function,
    ast.ClassDef: _class,
    ast.Assert: _assert,
    ast.Raise: _raise,
    ast.Try: _try,
    ast.With: _with,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Pass: _nothing,
    ast.Global: _nothing,
    ast.Nonlocal: _nothing,
    ast.Break: _break,
    ast.Continue: _continue,
}
_NAMES: Mapping[type[ast.stmt], str] = {
    ast.AsyncFunctionDef: "async def",
    ast.AsyncFor: "async for",
    ast.AsyncWith: "async with",
    ast.Match: "match",
    ast.TryStar: "except*",
}
