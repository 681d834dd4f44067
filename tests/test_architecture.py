"""The package's shape: its layers, the purity of its core, and rooms that say what they are for."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.paths import PACKAGE, ROOT

#: Modules by which a clock, the environment, chance or the world would reach the core.
IMPURE_MODULES: Final = frozenset(
    {
        "aiohttp",
        "aiokafka",
        "asyncio",
        "atexit",
        "click",
        "concurrent",
        "confluent_kafka",
        "ctypes",
        "datetime",
        "fcntl",
        "getpass",
        "glob",
        "http",
        "io",
        "locale",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "platform",
        "prometheus_client",
        "pydantic_settings",
        "queue",
        "random",
        "resource",
        "rich",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "structlog",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
        "warnings",
        "zoneinfo",
    }
)

#: Names whose call or read is impure, whatever they were imported by.
IMPURE_BUILTINS: Final = frozenset(
    {"__import__", "breakpoint", "compile", "eval", "exec", "hash", "id", "input", "open", "print"}
)

#: What hides the same things in NumPy, which the core may import.
IMPURE_NUMPY: Final = frozenset(
    {"datetime64", "fromfile", "genfromtxt", "load", "loadtxt", "memmap", "random", "save", "savetxt", "savez"}
)

#: Packages that a dependency brings along and whose names its users need.
BROUGHT_ALONG: Final = frozenset({"pydantic_core"})

MODULES: Final = sorted(PACKAGE.rglob("*.py"))
#: Each room of the core begins with a package docstring.
ROOMS: Final = sorted((PACKAGE / "core").rglob("__init__.py"))
CORE_MODULES: Final = sorted((PACKAGE / "core").rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def impurities(source: str) -> Iterator[str]:
    """Yield ``line: what`` for each import, builtin or NumPy name in `source` that is impure."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names if alias.name.partition(".")[0] in IMPURE_MODULES]
                found += [alias.name for alias in names if alias.name.startswith("numpy.random")]
            case ast.ImportFrom(module=str(module), names=names):
                found = [module] if module.partition(".")[0] in IMPURE_MODULES or module == "numpy.random" else []
                found += [alias.name for alias in names if module == "numpy" and alias.name in IMPURE_NUMPY]
            case ast.Name(id=name):
                found = [name] if name in IMPURE_BUILTINS else []
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name):
                found = [name] if name in IMPURE_NUMPY else []
            case _:
                found = []
        yield from (f"line {getattr(node, 'lineno', 0)}: {what}" for what in found)


#: What NumPy and BLAS compute by the processor's vector unit, to its own last digit.
PROCESSORS_OWN: Final = frozenset(
    re.findall(
        r"\w+",
        "arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt cos cosh exp exp2 expm1 float_power log log10 log1p"
        " log2 logaddexp logaddexp2 power sin sinh tan tanh dot inner linalg matmul tensordot vdot",
    )
)
#: Modules that add whole numbers, or fractions, by ``sum``: of floats it compensates for rounding from Python 3.12 on.
WHOLE_SUMS: Final = frozenset(
    f"core/{name}.py"
    for name in re.findall(
        r"\S+",
        "allocator/joint/allocate base/settings books/minute inputs/reject_rate model/learned/network"
        " model/learned/trees orders/auction orders/halts orders/ledger planning/metaorder planning/replan"
        " planning/venues slices/watch tca/executed tca/response",
    )
)
#: What is no part of any output's way: a solver of another package, and the estimate of a report.
ELSEWHERE: Final = frozenset({"core/allocator/solvers/cvxpy.py", "core/tca/response.py"})


def processors_own(source: str) -> Iterator[str]:
    """Yield ``line: what`` for each operation in `source`, outside of kernels, whose last digit is the processor's."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(by, ast.Name) and by.id.endswith("kernel") for by in node.decorator_list
        ):
            continue
        waiting += ast.iter_child_nodes(node)
        match node:
            case ast.BinOp(
                left=ast.Constant(), op=ast.Pow(), right=ast.Constant() | ast.UnaryOp(operand=ast.Constant())
            ):
                pass  # a number
            case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=2)):
                pass  # a product
            case ast.BinOp(op=ast.Pow()):
                yield f"line {node.lineno}: `**`; use math.pow, or impactd.core.base.elementary.powers of an array"
            case ast.BinOp(op=ast.MatMult()):
                yield f"line {node.lineno}: `@`; sum the products"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in PROCESSORS_OWN:
                yield f"line {node.lineno}: np.{name}; see impactd.core.base.elementary"


@pytest.mark.parametrize("path", [path for path in CORE_MODULES if _name(path) not in ELSEWHERE], ids=_name)
def test_core_module_computes_the_same_on_every_processor(path: Path) -> None:
    assert list(processors_own(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", [path for path in CORE_MODULES if _name(path) not in WHOLE_SUMS], ids=_name)
def test_core_module_adds_floats_alike_in_every_python(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    lines = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "sum"]
    assert lines == [], "use math.fsum, or name the module in WHOLE_SUMS where it adds whole numbers"


def test_check_of_processors_finds_what_is_outside_of_kernels_only() -> None:
    inside = "@kernel\ndef f(x, d):\n    return x**d\n"
    assert list(processors_own(inside)) == []
    assert list(processors_own("y = x**2 * 2.0**-52")) == []
    for outside in (
        "y = x**d",
        "y = 0.5 ** (t / h)",
        "y = np.exp(x)",
        "y = x**3",
        "y = left @ left",
        "y = np.linalg.inv(x)",
    ):
        assert len(list(processors_own(outside))) == 1


#: Imported where telemetry is on; a module that imported one of them unguarded would fail without the extra.
TELEMETRY = [PACKAGE / "shell" / "telemetry.py", PACKAGE / "shell" / "kafka" / "traces.py"]


def _dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].replace("-", "_")
        for requirement in project["dependencies"]
    }


def _unguarded_imports(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module.partition(".")[0]


def test_layers_as_imported_keep_their_order() -> None:
    # By itself: it sets up logging for its whole process, and takes what other tests have set up away.
    command = [
        str(Path(sys.executable).parent / "lint-imports"),
        "--config",
        str(ROOT / "pyproject.toml"),
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", CORE_MODULES, ids=_name)
def test_core_module_has_no_clock_chance_or_world(path: Path) -> None:
    assert list(impurities(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "def f():\n    import os.path",
        "import numpy as np\nx = np.random",
        "from numpy.random import default_rng",
        "open('x')",
        "import numpy as np\nnow = np.datetime64('now')",
        "from numpy import load",
    ],
)
def test_purity_check_impure_source_is_found(source: str) -> None:
    assert list(impurities(source)) != []


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_room_states_what_it_is_for_and_what_belongs_in_it(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert "belongs here:" in text.lower() or path == PACKAGE / "core" / "__init__.py"
    assert 2 <= len(text.splitlines()) <= 30, "a room is introduced in a few lines"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_service_module_imports_only_what_the_service_installs(path: Path) -> None:
    if path.is_relative_to(PACKAGE / "research"):
        pytest.skip("the research package is an extra")
    if path in TELEMETRY:
        pytest.skip("telemetry is an extra, imported by a command where it is on")
    allowed = _dependencies() | BROUGHT_ALONG | sys.stdlib_module_names | {"impactd"}
    unguarded = set(_unguarded_imports(ast.parse(path.read_text(encoding="utf-8"))))
    assert unguarded <= allowed, (
        f"not in [project] dependencies: {sorted(unguarded - allowed)}; import it where it is used"
    )


def _signature(item: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return what a docstring's entries may name: arguments, and of a class its attributes too."""
    found: set[str] = set()
    for node in ast.walk(item):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and isinstance(item, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            found.add(node.attr)
        elif isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(item, ast.ClassDef):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def _entries(text: str) -> Iterator[str]:
    """Yield the names of the entries under Parameters and Attributes."""
    section = ""
    lines = text.splitlines()
    for line, under in itertools.pairwise([*lines, ""]):
        if re.fullmatch("-{3,}", under):
            section = line
        elif section in {"Parameters", "Attributes"} and re.match(r"[*\w]", line):
            yield from (name.strip("* ") for name in line.partition(" : ")[0].split(","))


def test_docstrings_describe_what_is_there() -> None:
    gone = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                named = set(_entries(ast.get_docstring(item) or ""))
                if named and (missing := named - _signature(item)):
                    gone.append((path.relative_to(PACKAGE), item.name, missing))
    assert gone == []
