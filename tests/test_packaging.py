"""What is installed: pinned by hash, one top-level name, and working away from the checkout."""

import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = ("requirements.txt", "requirements-dev.txt")
NAMES = {"python-jsonpath": "jsonpath"}
"""What is imported under another name than it is installed by."""
BUILT_IN = ("processors", "connectors")


def pinned(name):
    """Package → the pin as it stands, of one requirements file."""
    lines = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    return {line.partition("==")[0]: line for line in lines if line}


@pytest.mark.parametrize("name", PINS)
def test_every_pin_has_one_version_and_hashes_and_names_no_host(name):
    for package, line in pinned(name).items():
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", line), package


def test_what_the_project_needs_is_pinned_and_both_files_agree():
    run, dev = (pinned(name) for name in PINS)
    wanted = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    groups = PROJECT["dependency-groups"]
    assert wanted | set(groups["build"]) <= run.keys()
    assert {Requirement(each).name for each in groups["dev"] if isinstance(each, str)} <= dev.keys()
    assert all(dev[package].split()[0] == pin.split()[0] for package, pin in run.items())


def test_the_wheel_is_built_by_the_pinned_backend():
    assert PROJECT["build-system"]["requires"] == [pinned("requirements.txt")["hatchling"].split(" ")[0]]


def test_only_dependencies_that_are_imported_are_listed():
    text = "\n".join(file.read_text() for file in (ROOT / "stream").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    listed = {Requirement(each).name for each in PROJECT["project"]["dependencies"]}
    assert {NAMES.get(name, name.replace("-", "_")) for name in listed} <= imported


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout, built without leaving anything in it."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("stream", *BUILT_IN):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", out, copy], check=True)
    [found] = out.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_puts_one_name_into_site_packages_with_everything_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"stream"}
    engine = {file.relative_to(ROOT) for file in (ROOT / "stream").rglob("*") if file.suffix in (".py", ".sql")}
    built_in = {"stream" / file.relative_to(ROOT) for folder in BUILT_IN for file in (ROOT / folder).glob("*.py")}
    assert {file.as_posix() for file in engine | built_in} <= names


@pytest.mark.slow
def test_installed_outside_the_checkout_stream_finds_what_is_built_in(wheel, tmp_path):
    """The dependencies are those of this interpreter: installing them again would test the network."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True)
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    ours = Path(pytest.__file__).parent.parent
    Path(where.stdout.strip(), "dependencies.pth").write_text(f"{ours}\n")
    (tmp_path / "stream.toml").write_text(
        '[receiver]\nport = 0\n[connectors.chat]\nconnector = "webhook"\n'
        '[connectors.chat.send_event]\nurl = "https://chat.example"\n'
    )
    result = subprocess.run(
        [tmp_path / "venv" / "bin" / "stream", "check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "processors     profiles, audiences, consent, deletion" in result.stdout
