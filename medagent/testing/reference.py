"""The reference pages of the documentation, made from the source: signatures as written, docstrings as they are.

The source is read (`ast`), so annotations stand as their author wrote them, and the texts under attributes count too.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

Definition = ast.FunctionDef | ast.AsyncFunctionDef
_SHORT = 60
"""Characters of a default that is shown; a longer one is an ellipsis."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One public name, or one member of a class."""

    name: str
    signature: str
    """As it is written: `put(messages: Sequence[InboundMessage]) -> None`, `seq: int = 0`."""
    kind: str
    """`protocol`, `dataclass`, `enum`, `exception`, `class`, `function`, `property` or `value`."""
    doc: str = ""
    parameters: tuple[str, ...] = ()
    """Of a function, without `self`."""
    returns: str = ""
    """The annotation of what a function returns, as written."""
    marks: tuple[str, ...] = ()
    """Decorators, as written."""
    members: list[Entry] = field(default_factory=list)


class Module:
    """What a module defines and offers: the names of its `__all__`, or else all without an underscore in front."""

    def __init__(self, name: str) -> None:
        """Raises `ImportError` if there is no such module."""
        tree, exceptions = _read(name)
        self.name = name
        self.doc = ast.get_docstring(tree) or ""
        exported = _exported(tree)
        if exported is None:
            self.entries = [entry for entry in _entries(tree.body, exceptions) if not entry.name.startswith("_")]
        else:
            known = {entry.name: entry for entry in [*_imported(tree, exported), *_entries(tree.body, exceptions)]}
            self.entries = [known[each] for each in exported if each in known]


def text(entries: Sequence[Entry], level: int = 3) -> str:
    """A section for each entry, headed at this level, as Markdown; its members are a list."""
    return "\n".join(_section(entry, level) for entry in entries)


def undocumented(entries: Sequence[Entry], path: str = "") -> Iterator[str]:
    """What has no docstring, and which parameters are not named in it as code."""
    for entry in entries:
        name = f"{path}{entry.name}"
        if not entry.doc and entry.name != "exit_code":  # of each error, explained where the first of them is
            yield f"{name}: no docstring"
        else:
            yield from (f"{name}: {each} is not explained" for each in entry.parameters if f"`{each}`" not in entry.doc)
        yield from undocumented(entry.members, f"{name}.")


def _section(entry: Entry, level: int) -> str:
    lines = [f"{'#' * level} `{entry.name}`", ""]
    if entry.kind in ("function", "value", "class"):
        lines += [f"`{entry.signature}`", ""]
    else:
        lines += [f"*{entry.kind[0].upper()}{entry.kind[1:]}.*", ""]
    lines += [entry.doc, ""]
    if entry.members:
        lines += [_item(member) for member in entry.members]
        lines.append("")
    return "\n".join(lines)


def _item(member: Entry) -> str:
    doc = textwrap.indent(member.doc, "  ").strip()
    return f"- `{member.signature}`: {doc}" if doc else f"- `{member.signature}`"


def _read(name: str) -> tuple[ast.Module, set[str]]:
    """The source of a module, and the names in it that are exceptions."""
    module = importlib.import_module(name)
    known = vars(builtins) | vars(module)
    exceptions = {each for each, value in known.items() if isinstance(value, type) and issubclass(value, BaseException)}
    return ast.parse(inspect.getsource(module)), exceptions


def _imported(tree: ast.Module, names: Sequence[str]) -> Iterator[Entry]:
    """Of these names, those that a package takes from its modules."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None and {alias.name for alias in node.names} & {*names}:
            source, exceptions = _read(node.module)
            yield from _entries(source.body, exceptions)


def _exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def _entries(body: Sequence[ast.stmt], exceptions: Collection[str]) -> Iterator[Entry]:
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef):
            yield _class(node, exceptions)
        elif isinstance(node, Definition):
            yield _function(node)
        elif (value := _value(node, following)) is not None:
            yield value


def _class(node: ast.ClassDef, exceptions: Collection[str]) -> Entry:
    members = [
        member for member in _entries(node.body, exceptions) if not member.name.startswith("_") or member.name == "__call__"
    ]
    made = next((each for each in node.body if isinstance(each, Definition) and each.name == "__init__"), None)
    if made is not None:
        members = [*_set_in(made), *members]
    marks = tuple(ast.unparse(mark) for mark in node.decorator_list)
    kind = _kind(node, marks, exceptions)
    if kind == "class":  # what has no docstring is how it keeps a protocol, or inner workings
        members = [member for member in members if member.doc]
    doc = ast.get_docstring(node) or ""
    if made is not None and (more := ast.get_docstring(made)):
        doc = f"{doc}\n\n{more}"
    signature = node.name + (_arguments(made) if made is not None else "")
    return Entry(node.name, signature, kind, doc, marks=marks, members=members)


def _kind(node: ast.ClassDef, marks: Sequence[str], exceptions: Collection[str]) -> str:
    bases = [ast.unparse(base).removeprefix("typing.").removeprefix("enum.") for base in node.bases]
    if "Protocol" in bases:
        return "protocol"
    if {*bases} & {"Enum", "IntEnum", "StrEnum"}:
        return "enum"
    if any(mark.startswith("dataclass") for mark in marks) or "msgspec.Struct" in bases:
        return "dataclass"
    return f"exception, a kind of `{bases[0]}`" if bases and bases[0] in exceptions else "class"


def _set_in(made: Definition) -> Iterator[Entry]:
    """Attributes that a constructor sets and explains."""
    for node, following in zip(made.body, [*made.body[1:], None], strict=True):
        doc = _text_of(following)
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
        if doc and isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
            annotation = f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
            yield Entry(target.attr, f"{target.attr}{annotation}", "value", doc)


def _function(node: Definition) -> Entry:
    marks = tuple(ast.unparse(mark) for mark in node.decorator_list)
    returns = ast.unparse(node.returns) if node.returns is not None else ""
    doc = ast.get_docstring(node) or ""
    if "property" in marks:
        return Entry(node.name, f"{node.name}: {returns}", "property", doc, returns=returns, marks=marks)
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    arguments = node.args
    names = tuple(
        each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if each.arg not in ("self", "cls")
    )
    signature = f"{prefix}{node.name}{_arguments(node)}" + (f" -> {returns}" if returns not in ("", "None") else "")
    return Entry(node.name, signature, "function", doc, names, returns, marks)


def _arguments(node: Definition) -> str:
    """In parentheses, without `self`."""
    return f"({ast.unparse(node.args).removeprefix('self').removeprefix('cls').removeprefix(', ')})"


def _value(node: ast.stmt, following: ast.stmt | None) -> Entry | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        name, annotation, value = node.target.id, f": {ast.unparse(node.annotation)}", node.value
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name, annotation, value = node.targets[0].id, "", node.value
    else:
        return None
    default = ast.unparse(value) if value is not None else ""
    if len(default) > _SHORT or default.startswith("field("):
        default = "..." if annotation or len(default) > 3 * _SHORT else default
    return Entry(name, name + annotation + (f" = {default}" if default else ""), "value", _text_of(following))


def _text_of(node: ast.stmt | None) -> str:
    """The text that stands under an attribute."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return textwrap.dedent(" " * node.col_offset + node.value.value).strip()
    return ""
