"""What a newcomer is promised: names that resolve, tables that are listed, small files."""

import ast
import json
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import alignstudy
from alignstudy.cli.app import main
from alignstudy.data import FORMATS
from alignstudy.judges import JUDGES
from alignstudy.judges.presets import PRESETS
from alignstudy.methods import METHODS
from alignstudy.methods.catalogue import entries
from alignstudy.metrics import METRICS
from alignstudy.plots import FIGURES
from alignstudy.study.settings.load import load_settings, preset_names, preset_text, resolved_yaml

SOURCE = Path(alignstudy.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
TABLES = {
    "methods": METHODS,
    "judges": JUDGES,
    "metrics": METRICS,
    "formats": FORMATS,
    "figures": FIGURES,
}
ENTRIES = [(kind, name) for kind, table in TABLES.items() for name in table]
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_public_names_are_sorted_and_there():
    assert list(alignstudy.__all__) == sorted(alignstudy.__all__)
    for name in alignstudy.__all__:
        assert getattr(alignstudy, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = alignstudy.no_such_name


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_of_a_table_resolves_and_says_what_it_is(kind, name):
    assert TABLES[kind].load(name) is not None
    summary = TABLES[kind].summary(name)
    assert len(summary) > 10
    assert summary.endswith(".")


@pytest.mark.parametrize("kind", [*TABLES, "presets"])
def test_list_shows_every_entry(kind, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["list", kind, "--json"])
    assert ended.value.code == 0
    listed = {row["name"]: row["summary"] for row in json.loads(capsys.readouterr().out)}
    known = preset_names() if kind == "presets" else list(TABLES[kind])
    if kind == "methods":  # those that a study names, and every loss
        known = [each.name for each in entries()]
    assert list(listed) == [*known, *(PRESETS if kind == "judges" else ())]
    assert all(listed.values())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_sound_study_that_survives_being_written_out(name, tmp_path):
    _, settings = load_settings(name)
    assert settings.study == name
    assert preset_text(name).startswith(f"# {name}: ")
    path = tmp_path / "resolved.yaml"
    path.write_text(resolved_yaml(settings), encoding="utf-8")
    assert load_settings(str(path))[1] == settings


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_sizes_that_keep_it_readable(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_the_median_function_is_short():
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    )
    assert lengths[len(lengths) // 2] <= 12


def test_no_library_code_names_a_place_of_this_machine():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in ("/work/", "/tmp/", "../shared") if word in text], path


def test_one_file_imports_trl():
    users = {name_of(path) for path in MODULES if imports(path) & {"trl"}}
    assert users == {"methods/loop/trl_adapter.py"}


def test_no_two_modules_import_each_other_not_even_for_types_or_inside_functions():
    modules = {dotted_name(path): path for path in MODULES}
    graph = {name: own_imports(path, set(modules)) for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_circles_are_found():
    text = "if TYPE_CHECKING:\n    from pack import sub, name\ndef f():\n    import pack.other\n"
    found = imported_modules(ast.parse(text), {"pack", "pack.sub", "pack.other"})
    assert found == {"pack", "pack.sub", "pack.other"}
    only_a_submodule = ast.parse("from pack import sub")
    assert imported_modules(only_a_submodule, {"pack", "pack.sub"}) == {"pack.sub"}


def dotted_name(path: Path) -> str:
    """Return a module's name; a package's `__init__` goes by the package's."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports(path: Path, modules: set[str]) -> set[str]:
    found = imported_modules(ast.parse(path.read_text(encoding="utf-8")), modules)
    return found - {dotted_name(path)}


def imported_modules(tree: ast.Module, modules: set[str]) -> set[str]:
    """Return which of our modules are imported anywhere, for types and inside functions too.

    `from package import name` imports the submodule of that name if there is one, else the
    package's `__init__`; a submodule's parents don't count.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else str(node.module) for name in names}
    return found & modules


AXIS_WORDS = re.compile(
    r"\b(harmless|harmful|helpful|unhelpful|hmr|hpr|HmR|HpR|cas|(score|median|sd)_(harmless|helpful))\b"
)
DATA_ABOUT_AXES = ("data/", "metrics/", "presets/")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_an_axis_is_named_where_it_is_data_and_nowhere_else(path):
    if name_of(path).startswith(DATA_ABOUT_AXES):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    words = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            words.append(node.value)
        words += [
            str(found)
            for name in ("id", "attr", "arg", "name")
            if isinstance(found := getattr(node, name, None), str)
        ]
    assert not [word for word in words if AXIS_WORDS.search(word)]


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a module imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_no_room_is_crowded_and_the_formatter_is_not_fought():
    rooms = Counter(path.parent for path in MODULES)
    assert max(rooms.values()) <= 21  # 20 modules and an `__init__`
    assert sum(path.read_text(encoding="utf-8").count("fmt: skip") for path in MODULES) == 0


def test_few_functions_are_called_once_and_only_in_their_own_module():
    """Such a function is better inline, unless its name says something."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
    imported = Counter(
        alias.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
    used = {
        path: Counter(
            getattr(node, "id", None) or getattr(node, "attr", None) for node in ast.walk(tree)
        )
        for path, tree in trees.items()
    }
    everywhere = sum(used.values(), Counter())
    functions = [
        (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    once = [
        node.name
        for path, node in functions
        if used[path][node.name] == 1
        and not node.decorator_list
        and not imported[node.name]
        and (node.name.startswith("_") or everywhere[node.name] == 1)
    ]
    assert len(once) <= 0.25 * len(functions)
