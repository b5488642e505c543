"""Where a receiver listens, and who may post there."""

import pytest

from stream.config import Config, ReceiverConfig, SourceConfig
from stream.errors import ConfigError
from stream.receiver import listen_host
from stream.receiver.access import Access, basic_key

KEYED = {"web": SourceConfig(write_key="k")}


@pytest.mark.parametrize(
    ("config", "host"),
    [
        (Config(), "127.0.0.1"),
        (Config(receiver=ReceiverConfig(secrets=("s",))), "0.0.0.0"),
        (Config(receiver=ReceiverConfig(require_header="A: b")), "0.0.0.0"),
        (Config(sources={"web": SourceConfig(secrets=("s",))}), "0.0.0.0"),
        (Config(sources=KEYED), "127.0.0.1"),
        (Config(sources=KEYED, receiver=ReceiverConfig(host="10.0.0.1")), "10.0.0.1"),
        (Config(receiver=ReceiverConfig(host="::1")), "::1"),
        (Config(receiver=ReceiverConfig(host="localhost")), "localhost"),
        (Config(receiver=ReceiverConfig(host="127.0.0.1", secrets=("s",))), "127.0.0.1"),
    ],
)
def test_without_a_secret_it_listens_on_loopback_only(config: Config, host: str) -> None:
    assert listen_host(config) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "stream.example"])
def test_listening_elsewhere_without_a_secret_is_an_error_that_says_what_to_do(host: str) -> None:
    with pytest.raises(ConfigError, match=r"receiver\.host .* receiver\.secrets"):
        listen_host(Config(receiver=ReceiverConfig(host=host)))


def test_a_write_key_alone_opens_no_destination_path_to_the_world() -> None:
    door = Access(Config(sources=KEYED, receiver=ReceiverConfig(host="0.0.0.0"))).destination("web")
    assert door is not None and not door.admits(None, False)


@pytest.mark.parametrize(
    ("receiver", "source", "asked"),
    [
        ({}, {}, ("anything", "anything")),
        ({}, {"write_key": "k"}, ("anything", "anything")),
        ({"secrets": ("s",)}, {}, ("signature", "nothing")),
        ({}, {"secrets": ("s",)}, ("nothing", "signature")),
        ({"require_header": "A: b"}, {"secrets": ("s",), "require_header": "A: b"}, ("header", "signature and header")),
        ({"host": "0.0.0.0"}, {"write_key": "k"}, ("nothing", "nothing")),
    ],
)
def test_what_a_path_asks_for_is_the_least_that_it_admits(receiver, source, asked) -> None:
    access = Access(Config(receiver=ReceiverConfig(**receiver), sources={"web": SourceConfig(**source)}))
    assert access.asked() == dict(zip(("/segment", "/segment/web"), asked, strict=True))
    for name, said in zip(("segment", "web"), asked, strict=True):
        door = access.destination(name)
        assert door.admits(None, False) == (said == "anything")
        assert door.admits(b"", False) == (said in ("anything", "signature"))
        assert door.admits(None, True) == (said in ("anything", "header"))
        assert door.admits(b"", True) == (said != "nothing")


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        ("Basic a2V5Og==", "key"),
        ("basic a2V5", "key"),
        ("Basic a2V5OnBhc3N3b3Jk", "key"),
        ("Bearer a2V5Og==", ""),
        ("Basic", ""),
        ("Basic /w==", ""),
        ("Basic \N{SNOWMAN}", ""),
        ("", ""),
    ],
)
def test_a_write_key_is_read_from_basic_authorization(authorization: str, key: str) -> None:
    assert basic_key(authorization) == key
