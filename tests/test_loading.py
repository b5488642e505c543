"""Where a connector's file is found; of processors, which are found the same way, see test_config.py."""

from pathlib import Path

import pytest

from stream import loading
from stream.errors import ConfigError

CONNECTOR = "def build(name, settings):\n    return {!r}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "connectors").mkdir()
    return tmp_path


def test_the_webhook_is_built_in(tmp_path):
    found = loading.connector("webhook", "crm", tmp_path)
    assert Path(found.__file__) == loading.built_in(loading.CONNECTORS) / "webhook.py"
    assert loading.connector("webhook", "other", tmp_path) is found


def test_a_connector_beside_stream_toml_comes_before_the_built_in_one(folder, tmp_path_factory):
    (folder / "connectors" / "webhook.py").write_text(CONNECTOR.format("mine"))
    assert loading.connector("webhook", "crm", folder).build("crm", {}) == "mine"
    found = loading.connector("webhook", "crm", tmp_path_factory.mktemp("elsewhere"))
    assert Path(found.__file__) == loading.built_in(loading.CONNECTORS) / "webhook.py"


def test_a_processor_and_a_connector_of_one_name_are_two_files(folder):
    (folder / "processors").mkdir()
    (folder / "processors" / "crm.py").write_text("def build(app, settings):\n    return ['processor']\n")
    (folder / "connectors" / "crm.py").write_text(CONNECTOR.format("connector"))
    assert loading.load("crm", folder).build(None, {}) == ["processor"]
    assert loading.connector("crm", "crm", folder).build("crm", {}) == "connector"


def test_a_name_with_a_dot_is_an_installed_module(tmp_path, monkeypatch):
    (tmp_path / "acme_api").mkdir()
    (tmp_path / "acme_api" / "crm.py").write_text(CONNECTOR.format("theirs"))
    monkeypatch.syspath_prepend(tmp_path)
    assert loading.connector("acme_api.crm", "crm", tmp_path / "elsewhere").build("crm", {}) == "theirs"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "webhok",
            "connectors.crm.connector: neither {0}/connectors/webhok.py nor {1}/webhok.py exists. Did you mean web",
        ),
        ("crm", "connectors.crm: neither {0}/connectors/crm.py nor {1}/crm.py exists."),
        ("../webhook", "connectors.crm.connector: a connector's name is made of letters, digits, _, - and dots"),
        ("no_such.module", "connectors.crm.connector: the module no_such.module cannot be imported"),
        ("empty", "connectors.crm.connector: {0}/connectors/empty.py has no function build(name, settings)"),
        ("broken", "connectors.crm.connector: {0}/connectors/broken.py, line 2: ValueError: why"),
    ],
)
def test_what_cannot_be_loaded_is_named_as_it_stands_in_the_file(folder, file, said):
    (folder / "connectors" / "empty.py").write_text("")
    (folder / "connectors" / "broken.py").write_text("\nraise ValueError('why')\n")
    with pytest.raises(ConfigError) as raised:
        loading.connector(file, "crm", folder)
    assert str(raised.value).startswith(said.format(folder, loading.built_in(loading.CONNECTORS)))
