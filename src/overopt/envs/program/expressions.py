"""Values of expressions: one function for each kind of node, and nothing for the kinds that are not in the subset."""

import ast
from collections.abc import Callable, Iterator, Mapping

from overopt.envs.program.attributes import attribute, set_attribute
from overopt.envs.program.functions import FUNCTIONS, KNOWN_ELSEWHERE
from overopt.envs.program.limits import BudgetExceeded
from overopt.envs.program.measuring import advance, collect, iterate, key
from overopt.envs.program.operations import binary, compare, item_of, set_item, unary
from overopt.envs.program.run import Run
from overopt.envs.program.scopes import bind_name, bound_names, check_name, find
from overopt.envs.program.texts import formatted, represent, show
from overopt.envs.program.values import (
    MISSING,
    ClassValue,
    FunctionValue,
    InertValue,
    InstanceValue,
    IteratorValue,
    Scope,
    SetValue,
    UnsupportedConstruct,
    Value,
    truth,
    type_name,
)

Handler = Callable[[Run, ast.expr, Scope], Value]
_CONSTANTS = (bool, int, float, str)
_PLAIN = frozenset((*_CONSTANTS, type(None)))


def evaluate(run: Run, node: ast.expr, scope: Scope) -> Value:
    """The value of ``node``; one step, one level of depth."""
    meter = run.meter
    meter.steps_left -= 1
    if meter.steps_left < 0:
        raise BudgetExceeded("steps")
    if meter.depth < meter.limits.depth:
        # Most nodes are plain constants and local names.
        if isinstance(node, ast.Constant):
            if type(node.value) in _PLAIN:
                return node.value
        elif isinstance(node, ast.Name):
            name = node.id
            if name in scope.names and name not in scope.global_names and name not in scope.outer_names:
                check_name(name)
                return scope.names[name]
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise UnsupportedConstruct(_NAMES.get(type(node), type(node).__name__))
    meter.depth += 1
    if meter.depth > meter.limits.depth:
        raise BudgetExceeded("depth")
    value = handler(run, node, scope)
    meter.depth -= 1
    return value


def test(run: Run, node: ast.expr, scope: Scope) -> bool:
    """Whether the value of ``node`` counts as true."""
    value = evaluate(run, node, scope)
    if isinstance(value, InertValue):
        raise UnsupportedConstruct(value.name)
    return truth(value)


def _constant(run: Run, node: ast.Constant, scope: Scope) -> Value:
    value = node.value
    if value is None or isinstance(value, _CONSTANTS):
        return value
    raise UnsupportedConstruct(f"{type(value).__name__} constants")


def _name(run: Run, node: ast.Name, scope: Scope) -> Value:
    name = node.id
    try:
        return find(run, name, scope)
    except LookupError:
        pass
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name in KNOWN_ELSEWHERE:
        raise UnsupportedConstruct(f"built-in {name}")
    run.fail("NameError", f"name '{name}' is not defined")


def _list(run: Run, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> list[Value]:
    items: list[Value] = []
    for element in node.elts:
        if isinstance(element, ast.Starred):
            items.extend(collect(run, evaluate(run, element.value, scope)))
            if len(items) > run.limits.items:
                raise BudgetExceeded("items")
        else:
            items.append(evaluate(run, element, scope))
    run.meter.items(len(items))
    return items


def _tuple(run: Run, node: ast.Tuple, scope: Scope) -> Value:
    return tuple(_list(run, node, scope))


def _set(run: Run, node: ast.Set, scope: Scope) -> Value:
    return SetValue({key(run, item): None for item in _list(run, node, scope)})


def _dict(run: Run, node: ast.Dict, scope: Scope) -> Value:
    table: dict[Value, Value] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        if key_node is None:
            other = evaluate(run, value_node, scope)
            if not isinstance(other, dict):
                run.fail("TypeError", f"'{type_name(other)}' object is not a mapping")
            run.meter.items(len(table) + len(other))
            table.update(other)
        else:
            checked = key(run, evaluate(run, key_node, scope))
            table[checked] = evaluate(run, value_node, scope)
    run.meter.items(len(table))
    return table


def _binary(run: Run, node: ast.BinOp, scope: Scope) -> Value:
    left = evaluate(run, node.left, scope)
    return binary(run, type(node.op), left, evaluate(run, node.right, scope))


def _unary(run: Run, node: ast.UnaryOp, scope: Scope) -> Value:
    if isinstance(node.op, ast.Not):
        return not test(run, node.operand, scope)
    return unary(run, type(node.op), evaluate(run, node.operand, scope))


def _boolean(run: Run, node: ast.BoolOp, scope: Scope) -> Value:
    stop_at = isinstance(node.op, ast.Or)
    value: Value = None
    for part in node.values:
        value = evaluate(run, part, scope)
        if isinstance(value, InertValue):
            raise UnsupportedConstruct(value.name)
        if truth(value) is stop_at:
            break
    return value


def _compare(run: Run, node: ast.Compare, scope: Scope) -> Value:
    left = evaluate(run, node.left, scope)
    if len(node.ops) == 1:
        return compare(run, type(node.ops[0]), left, evaluate(run, node.comparators[0], scope))
    for operator, right_node in zip(node.ops, node.comparators, strict=True):
        right = evaluate(run, right_node, scope)
        if not compare(run, type(operator), left, right):
            return False
        left = right
    return True


def _conditional(run: Run, node: ast.IfExp, scope: Scope) -> Value:
    return evaluate(run, node.body if test(run, node.test, scope) else node.orelse, scope)


def _call(run: Run, node: ast.Call, scope: Scope) -> Value:
    function = evaluate(run, node.func, scope)
    arguments: list[Value] = []
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            arguments.extend(collect(run, evaluate(run, argument.value, scope)))
            if len(arguments) > run.limits.items:
                raise BudgetExceeded("items")
        else:
            arguments.append(evaluate(run, argument, scope))
    keywords: dict[str, Value] = {}
    for keyword in node.keywords:
        value = evaluate(run, keyword.value, scope)
        if keyword.arg is not None:
            given = {keyword.arg: value}
        elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
            given = value
        else:
            run.fail("TypeError", "argument after ** must be a mapping with string keys")
        for name, one in given.items():
            if name in keywords:
                run.fail("TypeError", f"got multiple values for keyword argument '{name}'")
            keywords[name] = one
        run.meter.items(len(keywords))
    return run.call(function, arguments, keywords)


def _attribute(run: Run, node: ast.Attribute, scope: Scope) -> Value:
    return attribute(run, evaluate(run, node.value, scope), node.attr)


def _subscript(run: Run, node: ast.Subscript, scope: Scope) -> Value:
    return item_of(run, evaluate(run, node.value, scope), evaluate(run, node.slice, scope))


def _slice(run: Run, node: ast.Slice, scope: Scope) -> Value:
    parts = [None if part is None else evaluate(run, part, scope) for part in (node.lower, node.upper, node.step)]
    if not all(part is None or isinstance(part, int) for part in parts):
        run.fail("TypeError", "slice indices must be integers or None or have an __index__ method")
    return slice(*parts)


def _joined(run: Run, node: ast.JoinedStr, scope: Scope) -> Value:
    pieces: list[str] = []
    size = 0
    for part in node.values:
        piece = str(evaluate(run, part, scope))
        size += len(piece)
        run.meter.text(size)
        pieces.append(piece)
    return "".join(pieces)


def _formatted(run: Run, node: ast.FormattedValue, scope: Scope) -> Value:
    value = evaluate(run, node.value, scope)
    spec = str(evaluate(run, node.format_spec, scope)) if node.format_spec is not None else ""
    if node.conversion == 97:
        raise UnsupportedConstruct("conversion !a")
    if node.conversion == 114:
        value = represent(run, value)
    elif node.conversion == 115:
        value = show(run, value)
    return formatted(run, value, spec)


def make_function(
    run: Run, name: str, arguments: ast.arguments, body: list[ast.stmt] | ast.expr, scope: Scope
) -> FunctionValue:
    """A function of the program; defaults are evaluated now."""
    own, global_names, outer_names = bound_names(arguments, body)
    enclosing: Scope | None = scope
    # Names of a class body are not seen from its methods.
    while enclosing is not None and enclosing.own is None and enclosing.parent is not None:
        enclosing = enclosing.parent
    assert enclosing is not None
    return FunctionValue(
        name,
        arguments,
        body,
        enclosing,
        run.frames[-1].file if run.frames else "",
        [evaluate(run, default, scope) for default in arguments.defaults],
        {
            parameter.arg: evaluate(run, default, scope)
            for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if default is not None
        },
        own,
        global_names,
        outer_names,
    )


def _lambda(run: Run, node: ast.Lambda, scope: Scope) -> Value:
    return make_function(run, "<lambda>", node.args, node.body, scope)


def _walrus(run: Run, node: ast.NamedExpr, scope: Scope) -> Value:
    value = evaluate(run, node.value, scope)
    bind_name(run, node.target.id, value, scope)
    return value


def assign(run: Run, target: ast.expr, value: Value, scope: Scope) -> None:
    """Assign to a name, an item, an attribute or a pattern of these."""
    if isinstance(target, ast.Name):
        bind_name(run, target.id, value, scope)
    elif isinstance(target, ast.Subscript):
        container = evaluate(run, target.value, scope)
        set_item(run, container, evaluate(run, target.slice, scope), value)
    elif isinstance(target, ast.Attribute):
        set_attribute(run, evaluate(run, target.value, scope), target.attr, value)
    elif isinstance(target, ast.Tuple | ast.List):
        _unpack(run, target.elts, collect(run, value), scope)
    else:
        raise UnsupportedConstruct(f"assignment to {type(target).__name__}")


def _unpack(run: Run, targets: list[ast.expr], values: list[Value], scope: Scope) -> None:
    run.meter.step(len(targets))
    starred = [index for index, target in enumerate(targets) if isinstance(target, ast.Starred)]
    if not starred:
        if len(values) < len(targets):
            run.fail("ValueError", f"not enough values to unpack (expected {len(targets)}, got {len(values)})")
        if len(values) > len(targets):
            run.fail("ValueError", f"too many values to unpack (expected {len(targets)})")
    elif len(values) < len(targets) - 1:
        run.fail("ValueError", f"not enough values to unpack (expected at least {len(targets) - 1}, got {len(values)})")
    shift = len(values) - len(targets)
    position = 0
    for target in targets:
        if isinstance(target, ast.Starred):
            assign(run, target.value, values[position : position + shift + 1], scope)
            position += shift + 1
        else:
            assign(run, target, values[position], scope)
            position += 1


def _turns(
    run: Run, generators: list[ast.comprehension], scope: Scope, first: Iterator[Value] | None = None
) -> Iterator[None]:
    """Bind the targets of a comprehension turn by turn."""
    one, rest = generators[0], generators[1:]
    if one.is_async:
        raise UnsupportedConstruct("async")
    source = first if first is not None else iterate(run, evaluate(run, one.iter, scope))
    while True:
        run.meter.step()
        item = advance(run, source)
        if item is MISSING:
            return
        assign(run, one.target, item, scope)
        if all(test(run, condition, scope) for condition in one.ifs):
            if rest:
                yield from _turns(run, rest, scope)
            else:
                yield None


def _comprehension_scope(generators: list[ast.comprehension], scope: Scope) -> Scope:
    names = {
        node.id
        for one in generators
        for node in ast.walk(one.target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return Scope({}, scope.module, scope, frozenset(names), scope.global_names - names, frozenset(), True)


def _start(
    run: Run, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, scope: Scope
) -> tuple[Iterator[None], Scope]:
    # The first source is evaluated outside, at once, as in Python.
    first = iterate(run, evaluate(run, node.generators[0].iter, scope))
    inner = _comprehension_scope(node.generators, scope)
    return _turns(run, node.generators, inner, first), inner


def _list_comprehension(run: Run, node: ast.ListComp, scope: Scope) -> list[Value]:
    turns, inner = _start(run, node, scope)
    items: list[Value] = []
    for _ in turns:
        if len(items) >= run.limits.items:
            raise BudgetExceeded("items")
        items.append(evaluate(run, node.elt, inner))
    run.meter.items(len(items))
    return items


def _set_comprehension(run: Run, node: ast.SetComp, scope: Scope) -> Value:
    turns, inner = _start(run, node, scope)
    items: dict[Value, None] = {}
    for _ in turns:
        if len(items) >= run.limits.items:
            raise BudgetExceeded("items")
        items[key(run, evaluate(run, node.elt, inner))] = None
    return SetValue(items)


def _dict_comprehension(run: Run, node: ast.DictComp, scope: Scope) -> Value:
    turns, inner = _start(run, node, scope)
    table: dict[Value, Value] = {}
    for _ in turns:
        if len(table) >= run.limits.items:
            raise BudgetExceeded("items")
        checked = key(run, evaluate(run, node.key, inner))
        table[checked] = evaluate(run, node.value, inner)
    return table


def _generator(run: Run, node: ast.GeneratorExp, scope: Scope) -> Value:
    turns, inner = _start(run, node, scope)
    return IteratorValue("generator", (evaluate(run, node.elt, inner) for _ in turns))


def is_instance(run: Run, value: Value, expected: Value) -> bool:
    """Whether an exception or object belongs to a class or to one of a tuple of classes."""
    if isinstance(expected, tuple):
        return any(is_instance(run, value, one) for one in expected)
    return isinstance(expected, ClassValue) and isinstance(value, InstanceValue) and value.cls.descends_from(expected)


_HANDLERS: Mapping[type[ast.expr], Callable[..., Value]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.List: _list,
    ast.Tuple: _tuple,
    ast.Set: _set,
    ast.Dict: _dict,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.Call: _call,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.JoinedStr: _joined,
    ast.FormattedValue: _formatted,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.ListComp: _list_comprehension,
    ast.SetComp: _set_comprehension,
    ast.DictComp: _dict_comprehension,
    ast.GeneratorExp: _generator,
}
_NAMES: Mapping[type[ast.expr], str] = {ast.Await: "await", ast.Yield: "yield", ast.YieldFrom: "yield from"}
