"""Imports of a program: files of its own tree first, then the few libraries that are modelled.

A library that exists elsewhere but not here can be imported, because tests often import more than they use; the first
use of it is unsupported. A name that is nobody's is the program's ModuleNotFoundError, which guards like to catch.
"""

from overopt.envs.program.library import LIBRARIES
from overopt.envs.program.names import inside, join
from overopt.envs.program.run import Frame, Run
from overopt.envs.program.source import SourceError
from overopt.envs.program.values import EXCEPTIONS, InertValue, InstanceValue, ModuleValue, Scope, Value

_INERT_WORDS = """
    abc argparse array ast asyncio atexit base64 bisect builtins cmath codecs collections concurrent contextlib
    copy csv ctypes dataclasses datetime decimal difflib dis doctest email enum errno faulthandler fcntl
    fileinput fnmatch fractions functools gc getpass glob gzip hashlib heapq hmac html http importlib inspect io
    ipaddress itertools json keyword linecache locale logging lzma marshal mimetypes mmap multiprocessing
    numbers operator optparse pathlib pickle pkgutil platform pprint profile pty pydoc queue random re resource
    runpy sched secrets select shelve shlex shutil signal site socket sqlite3 ssl stat statistics string struct
    subprocess symtable sysconfig tarfile tempfile textwrap threading time timeit token tokenize traceback
    tracemalloc types typing unicodedata urllib uuid venv warnings weakref xml zipfile zlib numpy pandas scipy
    sklearn torch transformers requests yaml hypothesis
"""
INERT = frozenset(_INERT_WORDS.split())


def _located(run: Run, name: str, places: list[str]) -> tuple[str, str] | None:
    """Kind and place of the module ``name`` in the program's tree: a package goes before a file of the same name."""
    run.meter.charge(len(places) + 1)
    namespace = None
    for place in places:
        path = inside(place, name)
        if f"{path}/__init__.py" in run.files:
            return "package", path
        if f"{path}.py" in run.files:
            return "file", f"{path}.py"
        run.meter.charge(len(run.files))
        if namespace is None and any(file.startswith(f"{path}/") for file in run.files):
            namespace = ("namespace", path)
    return namespace


def import_module(run: Run, dotted: str) -> tuple[ModuleValue, ModuleValue]:
    """The module ``dotted`` and the first package on the way to it."""
    names = dotted.split(".")
    run.meter.step(len(names))
    places = [join(run.folder, place) for place in run.search if isinstance(place, str)]
    first: ModuleValue | None = None
    parent: ModuleValue | None = None
    for index in range(len(names)):
        full = ".".join(names[: index + 1])
        if parent is not None:
            places = list(parent.search)
            if parent.inert or (not parent.file and not places):
                inner = parent.names.get(names[index])
                module = inner if isinstance(inner, ModuleValue) else ModuleValue(full, {}, inert=True)
                if not parent.inert and not isinstance(inner, ModuleValue):
                    run.fail("ModuleNotFoundError", f"No module named '{full}'; '{parent.name}' is not a package")
                parent = module
                continue
        module = _one(run, names[index], full, places, top=parent is None)
        if parent is not None:
            parent.names[names[index]] = module
        first = first or module
        parent = module
    assert parent is not None
    assert first is not None
    return parent, first


def _one(run: Run, name: str, full: str, places: list[str], *, top: bool) -> ModuleValue:
    found = _located(run, name, places)
    if found is not None:
        kind, place = found
        if kind == "namespace":
            return run.modules.setdefault(place, ModuleValue(full, {}, search=(place,)))
        file = f"{place}/__init__.py" if kind == "package" else place
        return load(run, file, full, search=(place,) if kind == "package" else ())
    if top and name in LIBRARIES:
        if name not in run.modules:
            run.modules[name] = LIBRARIES[name](run)
        return run.modules[name]
    if top and name in INERT:
        return ModuleValue(full, {}, inert=True)
    run.fail("ModuleNotFoundError", f"No module named '{full}'")


def load(run: Run, file: str, name: str, search: tuple[str, ...] = ()) -> ModuleValue:
    """The module of a file, executed once in a run; a file that is being executed is returned as it stands."""
    if file in run.modules:
        return run.modules[file]
    if file not in run.files:
        run.fail("FileNotFoundError", f"can't open file '{file}': [Errno 2] No such file or directory")
    try:
        tree = run.tree(file)
    except SourceError as error:
        value = InstanceValue(
            EXCEPTIONS["IndentationError" if error.kind == "IndentationError" else "SyntaxError"],
            {"file": file, "line": error.line, "column": error.column, "text": error.text},
            (error.message,),
        )
        raise run.raised(value) from None
    module = ModuleValue(name, {"__name__": name, "__file__": file}, file, search)
    run.modules[file] = module
    if run.main is None:
        run.main = module
    depth = run.meter.depth
    run.meter.depth = depth + 3
    run.frames.append(Frame(file, 0, "<module>"))
    done = False
    try:
        run.execute(run, tree.body, Scope(module.names, module))
        done = True
    finally:
        run.frames.pop()
        if not done:
            del run.modules[file]
    run.meter.depth = depth
    module.names.update(run.replaced.get(file, {}))
    return module


def import_from(run: Run, dotted: str, names: list[tuple[str, str | None]]) -> list[tuple[str, Value]]:
    """What ``from dotted import names`` binds, in order."""
    if dotted == "__future__":
        return []
    module, _ = import_module(run, dotted)
    bound: list[tuple[str, Value]] = []
    for name, other in names:
        run.meter.step()
        if name == "*":
            if module.inert:
                continue
            bound += [(public, value) for public, value in module.names.items() if not public.startswith("_")]
        elif name in module.names:
            bound.append((other or name, module.names[name]))
        elif module.inert:
            bound.append((other or name, InertValue(f"{dotted}.{name}")))
        elif module.search and _located(run, name, list(module.search)) is not None:
            bound.append((other or name, import_module(run, f"{dotted}.{name}")[0]))
        else:
            place = module.file or "unknown location"
            run.fail("ImportError", f"cannot import name '{name}' from '{dotted}' ({place})")
    return bound
