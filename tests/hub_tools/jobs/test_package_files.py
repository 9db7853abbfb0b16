"""The package's own files are those of its wheel, the same bytes each time, and run where nothing is installed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_relabel
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.package_files import package_files, python_version, requirements

ROOT = Path(hf_relabel.__file__).resolve().parent
SITE_PACKAGES = Path(pytest.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def others_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to all that is installed but the package itself."""
    folder = tmp_path_factory.mktemp("site-packages")
    for entry in SITE_PACKAGES.iterdir():
        if "hf_relabel" not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def run_python(arguments: list[str], *path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_files_are_those_of_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build", "__pycache__", "out"))
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("hf_relabel/")}
    assert set(package_files().paths) == packed


def test_nothing_of_the_checkout_but_the_package_is_carried() -> None:
    paths = package_files().paths
    assert {"hf_relabel/__init__.py", "hf_relabel/py.typed", "hf_relabel/cards/templates/data_card.md.jinja"} <= set(
        paths
    )
    assert not [path for path in paths if "/tests/" in path or "/." in path or "__pycache__" in path]
    assert list(paths) == sorted(paths)


def test_a_part_comes_with_the_folders_on_the_way() -> None:
    paths = set(package_files(["hub_tools.endpoints", "builders.rows"]).paths)
    assert {"hf_relabel/hub_tools/__init__.py", "hf_relabel/builders/__init__.py", "hf_relabel/py.typed"} <= paths
    assert "hf_relabel/hub_tools/endpoints/dialects/tgi.py" in paths
    assert "hf_relabel/builders/rows.py" in paths
    assert "hf_relabel/builders/errors.py" not in paths
    with pytest.raises(ConfigError, match="no part 'nowhere'"):
        package_files(["nowhere"])


def test_the_archive_is_the_same_bytes_each_time_and_unpacks_to_the_files() -> None:
    carried = package_files()
    first, second = carried.as_zip(), package_files().as_zip()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == dict(carried.contents())


def test_a_carried_copy_runs_and_knows_its_version(tmp_path: Path, others_only: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(package_files().as_zip())) as archive:
        archive.extractall(tmp_path / "carried")
    hidden = run_python(["-c", "import hf_relabel"], others_only, cwd=tmp_path)
    assert "No module named 'hf_relabel'" in hidden.stderr

    script = (
        "import hf_relabel; from hf_relabel.builders.configs.manifest import package_version;"
        "print(hf_relabel.__file__); print(package_version('hf-relabel')); print(hf_relabel.load_job.__name__)"
    )
    ran = run_python(["-c", script], tmp_path / "carried", others_only, cwd=tmp_path)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        str(tmp_path / "carried" / "hf_relabel" / "__init__.py"), package_files().version, "load_job",
    ]  # fmt: skip
    told = run_python(
        ["-m", "hf_relabel.hub_tools.commands", "--version"], tmp_path / "carried", others_only, cwd=tmp_path
    )
    assert told.stdout.strip() == f"hf-relabel {package_files().version}", told.stderr


def test_a_carried_copy_can_be_carried_on(tmp_path: Path, others_only: Path) -> None:
    carried = package_files()
    with zipfile.ZipFile(io.BytesIO(carried.as_zip())) as archive:
        archive.extractall(tmp_path / "carried")
    script = (
        "import hashlib; from hf_relabel.hub_tools.package_files import package_files, requirements;"
        "print(hashlib.sha256(package_files().as_zip()).hexdigest(), requirements(['train']))"
    )
    ran = run_python(["-c", script], tmp_path / "carried", others_only, cwd=tmp_path)
    assert ran.stderr == ""
    assert ran.stdout.split(" ", 1) == [
        hashlib.sha256(carried.as_zip()).hexdigest(), f"{requirements(['train'])}\n",
    ]  # fmt: skip


def test_requirements_are_pinned_and_bring_torch_only_where_it_is_needed() -> None:
    core, train = requirements(), requirements(["train"])
    assert all("==" in line for line in [*core, *train])
    assert set(core) < set(train)
    assert any(line.startswith("torch==") for line in train)
    assert not [line for line in core if line.startswith(("torch", "transformers", "hf-relabel", "hf_relabel"))]
    assert not [line for line in train if "+" in line], "a package index serves no local versions"
    assert f"pyarrow=={__import__('pyarrow').__version__}" in core, "what runs there is what runs here"
    with pytest.raises(ConfigError, match=r"no extra 'magic'.*audit.*train"):
        requirements(["magic"])


def test_an_extra_that_holds_another_brings_its_packages() -> None:
    assert set(requirements(["hub"])) < set(requirements(["quickstart"]))


def test_what_is_not_installed_here_is_left_to_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_relabel.hub_tools import package_files as module

    installed = module._installed
    monkeypatch.setattr(module, "_installed", lambda name: None if name == "starlette" else installed(name))
    assert "starlette>=1.0" in requirements(["hub"])
    assert [line for line in requirements(["hub"]) if "==" not in line] == ["starlette>=1.0"]


def test_no_pin_contradicts_what_another_package_asks_for() -> None:
    pinned = {canonicalize_name(line.name): line.specifier for line in map(Requirement, requirements(["train"]))}
    versions = {name: str(specifier).removeprefix("==") for name, specifier in pinned.items()}
    for name in versions:
        for need in map(Requirement, distribution(name).requires or []):
            applies = need.marker is None or need.marker.evaluate({"extra": ""})
            if applies and canonicalize_name(need.name) in versions:
                version = versions[canonicalize_name(need.name)]
                assert need.specifier.contains(version, prereleases=True), f"{name} asks for {need}"
    assert python_version() in sys.version
