"""stream.toml: what it may say, and how it says what is wrong."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from stream import config, loading, places
from stream.errors import ConfigError
from stream.places import file_of

KAFKA = "[log]\nurl = 'kafka://b:9092'\n"
EXAMPLE = Path(__file__).parent.parent / "stream.toml"


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "stream.toml"
        file.write_text(text)
        return config.load(file)

    return load


def test_no_file_at_all_means_the_defaults_with_files_below_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = config.load()
    assert found.receiver == config.ReceiverConfig()
    assert list(found.processors) == ["profiles", "audiences", "consent", "deletion"]
    assert found.log.url == f"sqlite:{tmp_path}/data/log.db"
    assert file_of(found.store.url) == tmp_path / "data" / "state.db"
    assert found.folder == tmp_path


def test_stream_toml_in_this_folder_is_read_without_being_named(tmp_path, monkeypatch):
    (tmp_path / "stream.toml").write_text("[receiver]\nport = 9\n")
    monkeypatch.chdir(tmp_path)
    assert config.load().receiver.port == 9


def test_paths_are_relative_to_the_folder_of_the_file(load, tmp_path):
    found = load('[log]\nurl = "sqlite:elsewhere/log.db"\n[store]\nurl = "sqlite:/var/lib/stream/state.db"\n')
    assert found.log.url == f"sqlite:{tmp_path}/elsewhere/log.db"
    assert found.store.url == "sqlite:/var/lib/stream/state.db"
    assert found.folder == tmp_path


def test_servers_are_named_by_urls_and_files_of_theirs_lie_beside_the_file(load, tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", "s3cret")
    found = load(
        '[log]\nurl = "kafka://a:9092,b:9092"\n[topics]\n"segment.track" = "cdp.track"\n'
        '[kafka]\nsecurity_protocol = "SSL"\nca_file = "ca.pem"\n[spill]\nfolder = "spill"\n'
        '[store]\nurl = "postgresql://me:${PASSWORD}@host:5432/db?sslmode=require"\n'
    )
    assert places.brokers(found.log.url) == ["a:9092", "b:9092"]
    assert found.topics == {"segment.track": "cdp.track"}
    assert (found.kafka.ca_file, found.kafka.cert_file) == (str(tmp_path / "ca.pem"), "")
    assert found.spill.folder == str(tmp_path / "spill")
    assert found.store.url == "postgresql://me:s3cret@host:5432/db?sslmode=require"
    assert places.shown(found.store.url) == "postgresql://host:5432/db"
    assert places.shown(found.log.url) == "kafka://a:9092,b:9092"


def test_processors_that_are_named_are_the_only_ones_that_run(load):
    found = load('[processors.orders]\ncurrency = "EUR"\n[processors.profiles]\n')
    assert found.processors == {"orders": {"currency": "EUR"}, "profiles": {}}


def test_environment_variables_are_whole_texts_or_parts_of_them_everywhere(load, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setenv("REALM", "eu")
    found = load(
        '[receiver]\nsecrets = ["${SECRET}"]\nrequire_header = "X-Key: ${REALM}-${SECRET}"\n'
        '[sources.web]\nspace = "${REALM}"\n[processors.orders]\nkeys = [{ name = "a-${REALM}" }]\n'
    )
    assert found.receiver.secrets == ("s3cret",)
    assert found.receiver.require_header == "X-Key: eu-s3cret"
    assert found.sources["web"].space == "eu"
    assert found.processors["orders"] == {"keys": [{"name": "a-eu"}]}


def test_what_a_variable_holds_is_not_expanded_again(load, monkeypatch):
    monkeypatch.setenv("OUTER", "${INNER}")
    assert load('[receiver]\nsecrets = ["${OUTER}"]\n').receiver.secrets == ("${INNER}",)


WRONG = {
    "a typo in a section": (
        "[reciever]\nport = 1",
        "reciever is not a setting; did you mean receiver? allowed: receiver,",
    ),
    "a typo in a key": (
        "[receiver]\nprot = 1",
        "receiver.prot is not a setting; did you mean port? allowed: host, port,",
    ),
    "a typo in a source": ("[sources.web]\nsecret = 'a'", "sources.web.secret is not a setting; did you mean secrets?"),
    "the folder": ("folder = '/'", "folder is not a setting"),
    "a wrong type": ("[receiver]\nport = 'http'", "receiver.port: expected int, got str"),
    "a wrong type in a list": ("[receiver]\nsecrets = ['a', 1]", "receiver.secrets[1]: expected str, got int"),
    "a wrong type in a source": ("[sources.web]\nspace = 1", "sources.web.space: expected str, got int"),
    "text in place of a section": ("log = 'sqlite:x'", "log must be a table, [log]"),
    "text in place of a source": ("[sources]\nweb = 'x'", "sources.web must be a table, [sources.web]"),
    "text in place of a processor": ("[processors]\nx = true", "processors.x must be a table, [processors.x]"),
    "an unknown choice": (
        "[receiver]\non_bad_signature = 'drop'",
        "receiver.on_bad_signature: must be one of retry, reject",
    ),
    "a port out of range": ("[receiver]\nport = 65536", "receiver.port: expected int <= 65535"),
    "a negative number": ("[receiver]\nmax_in_flight = -1", "receiver.max_in_flight: expected int >= 1"),
    "no time at all": ("[receiver]\nbody_timeout_s = 0.0", "receiver.body_timeout_s: expected float > 0"),
    "not a number": ("[log]\nretention_days = nan", "log.retention_days: expected float > 0"),
    "no partitions": ("[log]\npartitions = 0", "log.partitions: expected int >= 1"),
    "three secrets": ("[receiver]\nsecrets = ['a', 'b', 'c']", "receiver.secrets: expected array of length <= 2"),
    "an empty secret": ("[sources.web]\nsecrets = ['a', '']", "sources.web.secrets[1] is empty"),
    "a header without a value": (
        "[receiver]\nrequire_header = 'X-Key:'",
        'receiver.require_header is not of the form "Name: value"',
    ),
    "a header that would end early": (
        '[sources.web]\nrequire_header = "X-Key: a\\r\\nX-Other: b"',
        'sources.web.require_header is not of the form "Name: value"',
    ),
    "a source's name": ("[sources.'my web']", "sources.my web: a source's name is made of"),
    "the name of another path": ("[sources.segment]", "sources.segment: that is the source of /segment itself"),
    "one write key twice": (
        "[sources.a]\nwrite_key = 'k'\n[sources.b]\nwrite_key = 'k'",
        "sources.a.write_key is another source's too: one key, one source",
    ),
    "a broker without a port": ("[log]\nurl = 'kafka://b'", "log.url must be kafka://HOST:PORT, several with commas"),
    "a password in the log's url": ("[log]\nurl = 'kafka://u:p@b:9092'", "log.url must be kafka://HOST:PORT"),
    "settings of Kafka that do not count": ("[kafka]\nproducers = 2", "kafka: log.url is not kafka://"),
    "names of topics that do not count": ("[topics]\n'segment.track' = 'a'", "topics: log.url is not kafka://"),
    "a topic that there is not": (f"{KAFKA}[topics]\n'segment.trakc' = 'a'", "topics.segment.trakc: there is no such"),
    "a name that Kafka refuses": (f"{KAFKA}[topics]\n'segment.track' = 'a b'", "topics.segment.track: a topic's name"),
    "one name for two topics": (
        f"{KAFKA}[topics]\n'segment.track' = 'segment.page'",
        "topics: segment.page is the name of two topics",
    ),
    "a name that is none": (f"{KAFKA}[topics]\n'segment.track' = 1", 'topics: each line is "OUR NAME" = "THE NAME ON'),
    "a mechanism without the protocol": (
        f"{KAFKA}[kafka]\nsasl_mechanism = 'PLAIN'\nusername = 'u'\npassword = 'p'",
        "kafka.sasl_mechanism goes with security_protocol SASL_PLAINTEXT or SASL_SSL",
    ),
    "a login without a password": (
        f"{KAFKA}[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'SCRAM-SHA-256'\nusername = 'u'",
        "kafka: SCRAM-SHA-256 needs username and password",
    ),
    "two tokens": (
        f"{KAFKA}[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'OAUTHBEARER'\ntoken = 'a'\n"
        "token_file = 'b'",
        "kafka: OAUTHBEARER needs one of token, token_file, token_url",
    ),
    "a certificate without a key": (
        f"{KAFKA}[kafka]\ncert_file = 'a'",
        "kafka.cert_file and kafka.key_file go together",
    ),
    "more copies in sync than there are": (
        f"{KAFKA}[kafka]\nreplication_factor = 1",
        "kafka.min_insync_replicas is more than replication_factor: nothing could be written",
    ),
    "a spill for what cannot be away": ("[spill]\nfolder = 'spill'", "spill.folder: the embedded log cannot be away"),
    "another scheme": ("[store]\nurl = 'mysql://u:p@h/d'", "store.url must be sqlite:FILE"),
    "a bare file": ("[log]\nurl = 'data/log.db'", "log.url must be sqlite:FILE"),
    "no file": ("[log]\nurl = 'sqlite:'", "log.url must be sqlite:FILE"),
    "memory": ("[log]\nurl = 'sqlite::memory:'", "log.url must be sqlite:FILE"),
    "one file for both": (
        "[log]\nurl = 'sqlite:a.db'\n[store]\nurl = 'sqlite:a.db'",
        "store.url names the file of log.url: they are two files",
    ),
    "an unset variable": (
        "[receiver]\nsecrets = ['a', '${NOT_SET_ANYWHERE}']",
        "receiver.secrets[1] needs the environment variable NOT_SET_ANYWHERE, which is not set",
    ),
    "a default for a variable": (
        "[receiver]\nhost = '${HOST:-0.0.0.0}'",
        "receiver.host: ${NAME} takes the name of an environment variable and nothing else",
    ),
    "broken TOML": ("[receiver\nport = 1", "is not TOML"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_with_its_path_and_what_is_allowed(load, tmp_path, text, expected):
    with pytest.raises(ConfigError) as raised:
        load(text)
    assert expected in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "stream.toml"))


def test_several_problems_are_named_at_once(load):
    with pytest.raises(ConfigError) as raised:
        load("[receiver]\nsecrets = ['']\n[log]\nurl = 'kafka://b'\n")
    assert "receiver.secrets[0] is empty; log.url must be kafka://" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "[receiver]\nrequire_header = 'TOPSECRET'",
        "[store]\nurl = 'postgres//me:TOPSECRET@host/db'",
        "[log]\nurl = 'kafka://me:TOPSECRET@host:9092'",
        "[kafka]\npassword = 'TOPSECRET'",
        "[kafka]\npassword = ['TOPSECRET']",
        "[receiver]\nport = 'TOPSECRET'",
        "[receiver]\non_bad_signature = 'TOPSECRET'",
        "[sources.web]\nsecrets = ['TOPSECRET', 1]",
        "[receiver]\nsecrets = ['TOPSECRET${}']",
    ],
)
def test_an_error_never_shows_a_value(load, text):
    with pytest.raises(ConfigError) as raised:
        load(text)
    assert "TOPSECRET" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_missing_file_is_an_error_when_it_was_named(tmp_path):
    with pytest.raises(ConfigError, match=r"other\.toml cannot be read: No such file"):
        config.load(tmp_path / "other.toml")


def test_a_file_that_is_not_text_is_an_error(tmp_path):
    (tmp_path / "stream.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.load(tmp_path / "stream.toml")


def test_the_example_shows_every_setting_with_its_default(tmp_path):
    text = re.sub(r"^#-- .+?^#-- .+?$", _active, EXAMPLE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "stream.toml").write_text(text)
    as_it_is = config.load(tmp_path / "stream.toml")
    shown = re.sub(r"^# (?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)
    (tmp_path / "stream.toml").write_text(shown)
    uncommented = config.load(tmp_path / "stream.toml")
    assert structs.replace(uncommented, sources={}, purposes={}) == as_it_is
    assert uncommented.sources == {"website": config.SourceConfig()}
    assert uncommented.purposes == {"newsletter": config.PurposeConfig()}
    assert as_it_is.processors == config.Config().processors
    keys = tomllib.loads(shown)
    for section in ("receiver", "probes", "log", "kafka", "spill", "store", "identity", "publish", "gate"):
        assert set(keys[section]) == set(msgspec.to_builtins(getattr(config.Config(), section)))
    assert set(keys["sources"]["website"]) == set(config.SourceConfig.__struct_fields__)
    assert set(keys["purposes"]["newsletter"]) == set(config.PurposeConfig.__struct_fields__)
    lanes = "\n".join(re.findall(r"^#   (\w+ = [^#]+)", text, flags=re.MULTILINE))
    assert tomllib.loads(lanes) == msgspec.to_builtins(config.LaneConfig())


def _active(block):
    """What of the marked block, a first destination, is no comment."""
    return "\n".join(line for line in block[0].splitlines() if not line.startswith("#"))


PROCESSOR = "def build(app, settings):\n    return [{!r}]\n"


def test_a_processor_beside_stream_toml_comes_before_the_built_in_one(tmp_path):
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "consent.py").write_text(PROCESSOR.format("mine"))
    assert loading.load("consent", tmp_path).build(None, {}) == ["mine"]


@pytest.mark.parametrize("name", config.Config().processors)
def test_the_processors_of_the_defaults_are_built_in(tmp_path, name):
    found = loading.load(name, tmp_path)
    assert Path(found.__file__) == loading.built_in() / f"{name}.py"
    assert loading.load(name, tmp_path) is found


def test_a_name_with_a_dot_is_an_installed_module(tmp_path, monkeypatch):
    (tmp_path / "acme_streams").mkdir()
    (tmp_path / "acme_streams" / "orders.py").write_text(PROCESSOR.format("theirs"))
    monkeypatch.syspath_prepend(tmp_path)
    assert loading.load("acme_streams.orders", tmp_path / "elsewhere").build(None, {}) == ["theirs"]


def test_a_processor_that_is_nowhere_is_named_with_the_places_and_the_nearest_name(tmp_path):
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "orders.py").write_text(PROCESSOR.format("mine"))
    with pytest.raises(ConfigError) as raised:
        loading.load("order", tmp_path)
    places = f"neither {tmp_path}/processors/order.py nor {loading.built_in()}/order.py exists"
    assert str(raised.value) == f"processors.order: {places}. Did you mean orders?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", "broken.py has no function build(app, settings)"),
        ("build = 1\n", "broken.py has no function build(app, settings)"),
        ("\n\nraise ValueError('why')\n", "broken.py, line 3: ValueError: why"),
        ("def build(:\n", "SyntaxError"),
        ("import not_installed_anywhere\n", "broken.py, line 1: ModuleNotFoundError"),
    ],
)
def test_a_processor_that_cannot_be_loaded_says_why(tmp_path, text, expected):
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "broken.py").write_text(text)
    with pytest.raises(ConfigError) as raised:
        loading.load("broken", tmp_path)
    assert expected in str(raised.value)


@pytest.mark.parametrize("name", ["not_installed.anywhere", "../secrets", "a/b", ""])
def test_other_names_are_errors(tmp_path, name):
    with pytest.raises(ConfigError, match=f"processors.{re.escape(name)}:"):
        loading.load(name, tmp_path)
