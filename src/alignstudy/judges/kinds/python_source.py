"""What a user's judge is made of: its settings, and its files, found without running them."""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field

from alignstudy.errors import InputError
from alignstudy.settings import Settings


class PythonSettings(Settings):
    """Which function rates, and which way its numbers count."""

    use: Literal["python"] = "python"
    call: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`module:function`, in the current folder or installed. It gets a list of"
        " (prompt, response) and returns as many numbers, or None where it has none.",
    )
    better: Literal["higher", "lower"] = Field(
        "higher", description="Which way it counts; lower: numbers are negated."
    )
    measures: str = Field(
        "both", description="The axis whose responses it may score, by its name; both: all axes."
    )
    batch_size: int = Field(64, ge=1, description="Most pairs a call.")


def source_digest(settings: PythonSettings, folder: Path | None = None) -> str:
    """Hash the source that a judge's scores depend on; nothing is imported.

    In the study's folder: the module and every module of that folder that it imports, directly or
    by another; of an installed package: all its Python files. Files that the function reads at run
    time, compiled code and other packages don't count.

    Args:
        settings: Name the function.
        folder: Where modules are looked for first; None: the current folder.

    Raises:
        InputError: If there is no such module, or it is no Python.
    """
    folder = (folder or Path.cwd()).resolve()
    name = settings.call.partition(":")[0]
    file = module_file(name, folder)
    whole = hashlib.sha256(settings.call.encode())
    if _local_file(name, folder) is not None:
        files = local_modules(name, folder)
    elif "." not in name and file.name != "__init__.py":
        files = {name: file}
    else:
        top = file.parents[name.count(".") - (file.name != "__init__.py")]
        files = {path.relative_to(top).as_posix(): path for path in top.rglob("*.py")}
    for label, path in sorted(files.items()):
        whole.update(f"\0{label}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def module_file(name: str, folder: Path) -> Path:
    """Find a module's file: in the folder first, else among what is installed.

    Raises:
        InputError: If there is none.
    """
    folder = folder.resolve()
    local = _local_file(name, folder)
    if local is not None:
        return local
    path: list[str] | None = None
    spec = None
    for part in _with_parents(name):
        finders = (finder.find_spec(part, path) for finder in sys.meta_path)
        spec = next((found for found in finders if found is not None), None)
        path = list(spec.submodule_search_locations or ()) if spec else []
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise InputError(
            f"there is no Python module '{name}' for a judge",
            why=f"neither {folder} nor the installed packages hold it",
            hint="run in the folder that holds it, install it, or correct `call: module:function`",
        )
    return Path(spec.origin).resolve()


def local_modules(name: str, folder: Path) -> dict[str, Path]:
    """List a module and all that it imports from the same folder: name -> file.

    Raises:
        InputError: If one of them is no Python.
    """
    folder = folder.resolve()
    found: dict[str, Path] = {}
    todo = [name]
    while todo:
        for part in _with_parents(todo.pop()):
            file = _local_file(part, folder)
            if file is None or part in found:
                continue
            found[part] = file
            try:
                tree = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError) as error:
                raise InputError(
                    f"the judge's module {file} is no Python", why=str(error), hint="fix the file"
                ) from error
            package = part.split(".") if file.name == "__init__.py" else part.split(".")[:-1]
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    todo += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    above = package[: len(package) - node.level + 1] if node.level else []
                    base = ".".join([*above, *([node.module] if node.module else [])])
                    todo += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def _local_file(name: str, folder: Path) -> Path | None:
    """Find a module in a folder, without its installed packages."""
    place = folder.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_name(place.name + ".py")):
        if file.is_file():
            return file.resolve()
    return None


def _with_parents(name: str) -> list[str]:
    """Name a module and the packages that it lies in."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
