"""What is built and installed: a wheel and an sdist, and an import that needs and loads no server."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

WITHOUT_THE_SERVER_EXTRA = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"starlette", "uvicorn", "httptools", "duckdb", "json5"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, the wheel made of it, and the wheel installed under ``site``."""
    out = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = out.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        out / "site",
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return out


def run(built: Path, script: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(built / "site")}
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script], env=environ, cwd=built, capture_output=True, text=True
    )


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "connect_logging/py.typed" in names
    assert "connect_logging/server/app.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"connect_logging"}


def test_the_sdist_can_be_built_from(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "connect_logging/py.typed"} <= names


def test_the_wheel_imports_without_the_server_extra(built: Path) -> None:
    done = run(built, WITHOUT_THE_SERVER_EXTRA + "import connect_logging.query; print(connect_logging.__file__)")
    assert done.stderr == ""
    assert done.stdout.startswith(str(built / "site"))


def test_the_server_without_its_extra_says_what_to_install(built: Path) -> None:
    script = "from connect_logging.cli import main; main(['serve', '--data', 'd'])"
    done = run(built, WITHOUT_THE_SERVER_EXTRA + script)
    assert done.returncode != 0
    assert "connect-logging[server]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_import_loads_nothing_that_only_some_programs_need(built: Path) -> None:
    script = """
import sys, connect_logging.query
heavy = {"starlette", "uvicorn", "duckdb", "click", "rich", "json5", "pandas", "polars", "pyarrow", "pytest",
         "Crypto"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    assert run(built, script).stdout.strip() == "[]"


def test_what_few_programs_need_is_not_imported_with_the_package(built: Path) -> None:
    script = """
import sys, connect_logging
rare = {"asyncio", "concurrent_log_handler", "difflib", "gzip", "html", "zoneinfo", "connect_logging.query",
        "connect_logging._journal"}
print(sorted(rare & sys.modules.keys()))
"""
    assert run(built, script).stdout.strip() == "[]"


def test_asking_from_the_command_line_needs_no_server_extra(built: Path) -> None:
    options = ["--project-id", "p", "--api-key", "k", "--base-url", "http://127.0.0.1:9", "--count", "--show"]
    script = f"from connect_logging.cli import main; main({['query', 'purchases', *options]})"
    done = run(built, WITHOUT_THE_SERVER_EXTRA + script)
    assert (done.stdout, done.stderr) == ('{"select": {"count": "count"}}\n', "")
