"""Python functions that stand alone, each as a file of its own: what they import, what they call, then they.

In a package most code leans on what its file defines above, and in such text a short file that holds one function is
rare; to someone who begins a script it is the usual case. Pure: text in, texts out. Knows nothing of packages, splits,
tokens or models.
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence, Set

RULES = 2  # raise it when a rule changes what is kept: cached corpora are then rebuilt
MIN_LINES = 2  # of a body, without its docstring
MIN_LINES_UNDOCUMENTED = 4  # what a shorter one is for, its name seldom says
MAX_CHARACTERS = 2400
_BUILTINS = frozenset(dir(builtins))
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.Assign


def alone(text: str) -> Iterator[str]:
    """The functions of a file that read nothing but their arguments, builtins, what the file imports of the standard
    library, and functions and constants of the file that do likewise, which then stand above them. In their order, but
    for those that stand above another. None of a file that this interpreter does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in somebody's strings
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines, imports = text.split("\n"), _imports(module)  # a form feed ends no line of a tree
    definitions = _definitions(module)
    found: dict[str, str] = {}
    below: set[str] = set()
    for node in definitions.values():
        if not isinstance(node, _Function) or not _long_enough(node):
            continue
        names = _closure(node.name, definitions, imports.keys() | _BUILTINS)
        if names is None:
            continue
        needed = [one for name, one in definitions.items() if name in names - {node.name}]
        function = _file([*needed, node], imports, lines)
        if len(function) <= MAX_CHARACTERS:
            found[node.name] = function
            below |= names - {node.name}
    yield from (function for name, function in found.items() if name not in below)


def _definitions(module: ast.Module) -> dict[str, _Definition]:
    """Functions and plain assignments at the file's outermost level, by name, in their order; none bound elsewhere in
    it as well."""
    bound: Counter[str] = Counter()
    found: dict[str, _Definition] = {}
    for node in module.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                found[name] = node
                bound[name] += 1
            case ast.ClassDef(name=name):
                bound[name] += 1
            case _:
                bound.update(_names(node)[1])
    return {name: node for name, node in found.items() if bound[name] == 1}


def _closure(name: str, definitions: dict[str, _Definition], given: Set[str]) -> set[str] | None:
    """The definitions that this one needs, itself among them; None if it needs a name that is neither there nor
    given."""
    needed, open_names = {name}, [name]
    while open_names:
        read, bound = _names(definitions[open_names.pop()])
        missing = read - bound - given - needed
        if not missing <= definitions.keys():
            return None
        needed |= missing
        open_names += missing
    return needed


def _file(parts: Sequence[_Definition], imports: dict[str, str], lines: Sequence[str]) -> str:
    """Imports, then the definitions: functions apart by two blank lines, assignments in blocks."""
    read = set[str]().union(*(_names(part)[0] for part in parts))
    text = "\n".join(line for name, line in imports.items() if name in read)
    before: _Definition | None = None
    for part in parts:
        if text:
            text += "\n" if isinstance(before, ast.Assign) and isinstance(part, ast.Assign) else "\n\n\n"
        text += "\n".join(lines[_first(part) - 1 : part.end_lineno])
        before = part
    return text + "\n"


def _first(part: _Definition) -> int:
    """Its first line, from 1, decorators included."""
    return part.lineno if isinstance(part, ast.Assign) else min(one.lineno for one in (part, *part.decorator_list))


def _long_enough(node: _Function) -> bool:
    documented = ast.get_docstring(node) is not None
    body = node.body[1:] if documented else node.body
    begun = {one.lineno for part in body for one in ast.walk(part) if isinstance(one, ast.stmt)}
    return len(begun) >= (MIN_LINES if documented else MIN_LINES_UNDOCUMENTED)


def _imports(module: ast.Module) -> dict[str, str]:
    """Names that the file imports of the standard library, with the line that imports just that one."""
    found: dict[str, str] = {}
    for node in module.body:
        match node:
            case ast.Import(names=names):
                bound = {one.asname or one.name.partition(".")[0]: (one.name, ast.Import([one])) for one in names}
            case ast.ImportFrom(module=str(module_name), names=names, level=0):
                bound = {one.asname or one.name: (module_name, ast.ImportFrom(module_name, [one], 0)) for one in names}
            case _:
                continue
        for name, (source, line) in bound.items():
            if source.partition(".")[0] in sys.stdlib_module_names:
                found[name] = ast.unparse(line)
    return found


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Names that a statement reads and those that it binds, anywhere in it; a global one is read, not bound."""
    read: set[str] = set()
    bound: set[str] = set()
    shared: set[str] = set()
    for one in ast.walk(node):
        match one:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name):
                bound.add(name)
            case ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
            case ast.Global(names=names):
                shared.update(names)
    return read | shared, bound - shared
