"""Which names a function body binds, and looking names up from the inside out."""

import ast
from weakref import WeakKeyDictionary

from overopt.envs.program.run import Run
from overopt.envs.program.values import InertValue, Scope, UnsupportedConstruct, Value

# Tuples, since a union of types would be made anew at every node.
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NO_DESCENT = (*_NAMED, ast.Lambda)
_BINDING = (ast.Store, ast.Del)
_IMPORTS = (ast.Import, ast.ImportFrom)
_BARE = (ast.Constant, ast.Load, ast.Store, ast.Del, ast.operator, ast.cmpop)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_known: WeakKeyDictionary[ast.arguments, tuple[frozenset[str], frozenset[str], frozenset[str]]] = WeakKeyDictionary()


def bound_names(
    arguments: ast.arguments, body: list[ast.stmt] | ast.expr
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Names that a function makes local, declares global and declares nonlocal, without recursion."""
    found = _known.get(arguments)
    if found is None:
        # Parameters belong to one function; trees of one text are shared by all that run it.
        found = _known[arguments] = _bound_names(arguments, body)
    return found


def _bound_names(
    arguments: ast.arguments, body: list[ast.stmt] | ast.expr
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    own = {parameter.arg for parameter in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    own |= {parameter.arg for parameter in (arguments.vararg, arguments.kwarg) if parameter is not None}
    global_names: set[str] = set()
    outer_names: set[str] = set()
    pending: list[tuple[ast.AST, bool]] = [(node, True) for node in (body if isinstance(body, list) else [body])]
    while pending:
        node, binds = pending.pop()
        if isinstance(node, ast.Name):
            if binds and isinstance(node.ctx, _BINDING):
                own.add(node.id)
            continue
        if isinstance(node, _BARE):
            continue
        if isinstance(node, ast.NamedExpr):
            # A walrus inside a comprehension binds in the function around it.
            own.add(node.target.id)
            pending.append((node.value, binds))
            continue
        elif isinstance(node, _NAMED):
            own.add(node.name)
        elif isinstance(node, _IMPORTS):
            own |= {(alias.asname or alias.name.partition(".")[0]) for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            own.add(node.name)
        elif isinstance(node, ast.Global):
            global_names |= set(node.names)
        elif isinstance(node, ast.Nonlocal):
            outer_names |= set(node.names)
        if isinstance(node, _NO_DESCENT):
            continue
        inside = binds and not isinstance(node, _COMPREHENSIONS)
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))
    return frozenset(own - global_names - outer_names), frozenset(global_names), frozenset(outer_names)


def check_name(name: str) -> None:
    """Refuse names with two underscores at both ends: they are Python's ways from a value to the interpreter."""
    if name[:2] == "__" and name.endswith("__") and name not in ("__name__", "__file__", "__init__"):
        raise UnsupportedConstruct(f"name {name}")


def find(run: Run, name: str, scope: Scope) -> Value:
    """The value of a name, or the program's NameError."""
    check_name(name)
    if name not in scope.global_names:
        looked: Scope | None = scope
        while looked is not None:
            if name in looked.names and name not in looked.outer_names:
                return looked.names[name]
            if looked.own is not None and name in looked.own:
                run.fail(
                    "UnboundLocalError" if looked is scope else "NameError",
                    f"cannot access local variable '{name}' where it is not associated with a value"
                    if looked is scope
                    else f"cannot access free variable '{name}' where it is not associated with a value in"
                    " enclosing scope",
                )
            if name in looked.global_names:
                break
            looked = looked.parent
    if name in scope.module.names:
        return scope.module.names[name]
    raise LookupError(name)


def bind_name(run: Run, name: str, value: Value, scope: Scope) -> None:
    """Assign to a name in the scope that owns it."""
    check_name(name)
    target = scope
    while target.is_comprehension and (target.own is None or name not in target.own) and target.parent is not None:
        target = target.parent
    if name in target.global_names:
        names = target.module.names
    elif name in target.outer_names:
        names = _outer(run, name, target)
    else:
        names = target.names
    if name not in names:
        run.meter.items(min(len(names) + 1, 2))
        if len(names) >= run.limits.items:
            run.meter.items(len(names) + 1)
    names[name] = value


def unbind_name(run: Run, name: str, scope: Scope) -> None:
    """``del name``."""
    check_name(name)
    if name in scope.global_names:
        names = scope.module.names
    elif name in scope.outer_names:
        names = _outer(run, name, scope)
    else:
        names = scope.names
    if name not in names:
        run.fail("NameError", f"name '{name}' is not defined")
    del names[name]


def _outer(run: Run, name: str, scope: Scope) -> dict[str, Value]:
    looked = scope.parent
    while looked is not None:
        if looked.own is not None and name in looked.own:
            return looked.names
        looked = looked.parent
    run.fail("SyntaxError", f"no binding for nonlocal '{name}' found")


def refuse_inert(value: Value) -> None:
    """Using a name of a library that is not there is unsupported."""
    if isinstance(value, InertValue):
        raise UnsupportedConstruct(value.name)
