"""The names that `ostrata` itself has."""

import ast
import subprocess
import sys
from pathlib import Path

import ostrata


def test_every_public_name_is_there_and_documented():
    for name in dir(ostrata):
        found = getattr(ostrata, name)
        assert name == "SILENT" or found.__doc__, name


def test_type_checkers_see_the_names_that_are_there():
    tree = ast.parse(Path(ostrata.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert sorted(seen) == dir(ostrata)
    assert seen == {name: f"ostrata.{home}" for home, names in ostrata._HOMES.items() for name in names}


def test_importing_it_imports_no_other_module_of_it():
    code = "import sys, ostrata; print([name for name in sys.modules if name.startswith('ostrata.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_error_of_attributes():
    assert not hasattr(ostrata, "none")
