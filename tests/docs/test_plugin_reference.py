"""The reference pages of docs/plugins are what the code says, and all that plugins may use is on them.

`--update` rewrites what is generated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import medagent
from medagent import hookspecs
from medagent.scaffold import Kind, Names, write
from medagent.testing import pytest_plugin
from medagent.testing.markdown import Page
from medagent.testing.reference import Entry, Module, text, undocumented

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "plugins"
PAGES = sorted(FOLDER.glob("*.md"))
PUBLIC = re.findall(r"^- `(\S+)`$", medagent.__doc__ or "", re.MULTILINE)
"""The modules that plugins may import, but for those of tests."""
HOOKS = [entry for entry in Module("medagent.hookspecs").entries if entry.name != "hookspec"]
LINES = ("Called", "Fault", "Since")
"""What every hook's docstring says, each in a paragraph's line of its own."""
_MARK = re.compile(r"<!-- generated: (\S+) -->\n(.*?)<!-- end: \1 -->", re.DOTALL)
GENERATED = {
    name: path
    for path in PAGES
    if path.name != "contracts.md"  # tests/docs/test_contracts_page.py
    for name, _ in _MARK.findall(path.read_text(encoding="utf-8"))
}
"""Where each text stands that is made, by its name."""


def first_sentence(doc: str) -> str:
    return re.split(r"[.](?:\s|$)", doc)[0].replace("\n", " ").replace("|", "\\|")


def kind(hook: Entry) -> str:
    options = getattr(hookspecs, hook.name).medagent_spec
    words = "at loading" if options["historic"] else "first" if options["firstresult"] else "each"
    return words + (", may be awaitable" if "Awaitable" in hook.returns else "")


def hook_section(hook: Entry) -> str:
    doc = re.sub(rf"^({'|'.join((*LINES, 'Returns'))}): ", r"\n*\1:* ", hook.doc, flags=re.MULTILINE).replace("\n\n\n", "\n\n")
    arguments = ",\n    ".join(re.findall(r"\w+: .+?(?=, \w+: |\)(?: ->|$))", hook.signature))
    returns = hook.returns or "None"
    types = ", ".join(
        f"[`{entry.name}`]({GENERATED[module].name}#{entry.name.lower()})"
        for module in PUBLIC
        for entry in Module(module).entries
        if re.search(rf"\b{entry.name}\b", hook.signature)
    )
    return (
        f"## `{hook.name}`\n\n*{kind(hook).capitalize()}.*\n\n"
        f"```python\ndef {hook.name}(\n    {arguments},\n) -> {returns}\n```\n\n{doc}\n"
        + (f"\n*Types:* {types}.\n" if types else "")
    )


def anchor(module: str) -> str:
    """Of the heading that ends with the module's name."""
    heading = next(each for each in Page(GENERATED[module]).headings if each.endswith(f": {module}"))
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def made(name: str) -> str:
    """What has to stand between the markers of this name."""
    match name:
        case "hooks":
            rows = [f"| [`{hook.name}`](#{hook.name}) | {kind(hook)} | {first_sentence(hook.doc)} |" for hook in HOOKS]
            return "\n".join(["| Hook | Kind | To |", "|---|---|---|", *rows, "", *map(hook_section, HOOKS)])
        case "public-modules":
            rows = [
                f"| [`{module}`]({GENERATED[module].name}#{anchor(module)}) | {first_sentence(Module(module).doc)} |"
                for module in PUBLIC
            ]
            return "\n".join(["| Module | What it is |", "|---|---|", *rows, ""])
        case _:
            return text(Module(name).entries)


@pytest.mark.parametrize("path", sorted(set(GENERATED.values())), ids=lambda path: path.name)
def test_the_page_is_what_the_code_says(path: Path, medagent_update: bool) -> None:
    found = path.read_text(encoding="utf-8")
    expected = _MARK.sub(lambda mark: f"<!-- generated: {mark[1]} -->\n\n{made(mark[1])}\n<!-- end: {mark[1]} -->", found)
    if medagent_update:
        path.write_text(expected, encoding="utf-8")
        found = expected
    assert found == expected, "run: pytest tests/docs/test_plugin_reference.py --update"


def test_every_public_module_is_on_a_page_and_no_other() -> None:
    assert GENERATED.keys() == {"hooks", "public-modules", *PUBLIC}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_docstring_of_a_hook_says_all(hook: Entry) -> None:
    wanted = LINES if hook.returns in ("", "None", "Awaitable[None] | None") else (*LINES, "Returns")
    assert [word for word in wanted if f"\n{word}: " not in hook.doc] == []
    assert [name for name in hook.parameters if f"\n- `{name}`: " not in hook.doc] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_explained(name: str) -> None:
    module = Module(name)
    assert module.doc
    assert list(undocumented(module.entries)) == []


def test_no_page_names_a_hook_that_does_not_exist() -> None:
    examples = {path.name.replace("-", "_") for path in ROOT.glob("docs/examples/*/")}
    examples |= {path.name for path in ROOT.glob("plugins/*/medagent_*")}
    named = {name for path in PAGES for name in re.findall(r"medagent_\w+", Page(path).prose)}
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("medagent_")}
    assert named - examples - fixtures <= {hook.name for hook in HOOKS}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of medagent that a file imports, each with a name from it, or ""."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def not_public(folder: Path) -> list[str]:
    """What the files of a distribution import of medagent although it is not for plugins."""
    public = {(name, entry.name) for name in PUBLIC for entry in Module(name).entries}
    public |= {("medagent", name) for name in ("", *medagent.__all__)}
    public |= {(package, module) for package, _, module in (name.rpartition(".") for name in PUBLIC)}
    return [
        f"{path.relative_to(folder)}: {module} {name}".rstrip()
        for path in sorted(folder.rglob("*.py"))
        for module, name in imports(path)
        if module.partition(".")[0] == "medagent" and (module, name) not in public
        if not module.startswith("medagent.testing")
    ]


@pytest.mark.parametrize("folder", [*ROOT.glob("plugins/*"), *ROOT.glob("docs/examples/*/")], ids=lambda path: path.name)
def test_plugins_import_only_what_is_public(folder: Path) -> None:
    assert not_public(folder) == []


@pytest.mark.parametrize("kind", Kind)
def test_new_plugins_import_only_what_is_public(kind: Kind, tmp_path: Path) -> None:
    assert not_public(write(kind, Names.of("ward-monitor"), tmp_path)) == []
