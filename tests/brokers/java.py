"""Apache Kafka's own server on this machine's Java."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.brokers.run import Missing, cache, replaced

VERSION = "4.3.1"
_LIBRARIES = cache() / f"kafka-{VERSION}"
_POM = Path(__file__).with_name("pom.xml")
_OLDEST = 17
_HOW = f"install Java {_OLDEST} and Maven, or Docker, or set STREAM_TEST_KAFKA=HOST:PORT"
_MAVEN = ("-q", "-B", "-C", "dependency:copy-dependencies")  # -C: a wrong checksum is an error


def java() -> str:
    """The program. Raises Missing."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if not found:
        raise Missing(f"no Java: {_HOW}")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', told.stderr)
    if not version or int(version[1]) < _OLDEST:
        raise Missing(f"no Java {_OLDEST} or newer: {_HOW}")
    return found


def can_run() -> None:
    """Raises Missing where Kafka can be neither found nor obtained."""
    java()
    if not _LIBRARIES.exists() and not shutil.which("mvn"):
        raise Missing(f"Java, but no Maven to obtain Kafka with: {_HOW}")


def libraries() -> Path:
    """The folder of Kafka's jars, obtained once for all runs. Raises Missing."""
    can_run()
    if _LIBRARIES.exists():
        return _LIBRARIES
    _LIBRARIES.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="kafka-", dir=_LIBRARIES.parent))
    command = ["mvn", *_MAVEN, "-f", _POM, f"-DoutputDirectory={new}"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        shutil.rmtree(new)
        raise Missing(f"Maven cannot obtain Kafka {VERSION}: {told.stdout.strip()[:500]}")
    replaced(new, _LIBRARIES)
    return _LIBRARIES
