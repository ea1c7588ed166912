"""Python functions that stand alone, each as a file of its own: what they import, then they.

In a package most code leans on what its file defines above, and in such text a short file that holds one documented
function is rare; to someone who begins a script it is the usual case. Pure: text in, texts out. Knows nothing of
packages, splits, tokens or models.
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from collections.abc import Iterator

RULES = 1  # raise it when a rule changes what is kept: cached corpora are then rebuilt
MIN_LINES = 2  # of a body, without its docstring
MAX_CHARACTERS = 2400
_BUILTINS = frozenset(dir(builtins))
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def alone(text: str) -> Iterator[str]:
    """The documented functions of a file that read nothing but their arguments, builtins, themselves and what the file
    imports of the standard library, in their order. None of a file that this interpreter does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in somebody's strings
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines, imports = text.split("\n"), _imports(module)  # a form feed ends no line of a tree
    for node in module.body:
        if not isinstance(node, _Function) or ast.get_docstring(node) is None:
            continue
        first = min(one.lineno for one in (node, *node.decorator_list))
        read = _read(node)
        if len(_lines(node)) < MIN_LINES or not read <= imports.keys() | _BUILTINS | {node.name}:
            continue
        needed = [line for name, line in imports.items() if name in read]
        head = "\n".join(needed) + "\n\n\n" if needed else ""
        function = head + "\n".join(lines[first - 1 : node.end_lineno]) + "\n"
        if len(function) <= MAX_CHARACTERS:
            yield function


def _lines(node: _Function) -> set[int]:
    """Lines on which a statement of the body begins, the docstring aside."""
    return {one.lineno for part in node.body[1:] for one in ast.walk(part) if isinstance(one, ast.stmt)}


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


def _read(node: _Function) -> set[str]:
    """Names that the function reads and nowhere binds."""
    read: set[str] = set()
    bound: set[str] = set()
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
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                read.update(names)
    return read - bound
