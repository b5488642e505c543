"""stream check, and what every command has."""

import json
import os
import socket

import click
import pytest

from stream.cli import COMMANDS, main

FREE = "[receiver]\nport = 0\n"
GUARDS = "[processors.profiles]\n[processors.consent]\n[processors.deletion]\n"
HOOK = "https://user:topsecret@hooks.example.com:8443/in?key=topsecret"
DELETING = """
[connectors.crm]
connector = "webhook"
kinds = ["email"]
delete_person = { url = "https://crm.example.com/{$.id}" }
"""
SENDING = f"""
[processors.audiences]
destinations = ["crm"]
[processors.forward.a]
url = "{HOOK}"
rates = ["40/s", "1000/day"]
[purposes.marketing]
categories = ["Advertising"]
channels = ["email"]
[connectors.crm]
connector = "webhook"
kinds = ["email"]
allow_private = true
bearer = "topsecret"
[connectors.crm.set_membership.true]
url = "http://127.0.0.1:9000/lists/{{$.name}}?key=topsecret"
[connectors.crm.set_membership.false]
method = "DELETE"
url = "http://127.0.0.1:9000/lists/{{$.name}}?key=topsecret"
"""


@pytest.fixture
def run(run, tmp_path, monkeypatch):
    """Runs a command as a person would in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return run


def test_it_says_what_would_run_and_touches_nothing(run, tmp_path):
    (tmp_path / "stream.toml").write_text(FREE + "[sources.web]\nwrite_key = 'k'\n[processors.consent]\n")
    result = run("check", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ok"] and found["problems"] == []
    assert found["configuration"] == str(tmp_path / "stream.toml")
    assert found["receiver"] == "http://127.0.0.1:0"
    unsigned = "unsigned requests: no secret is set, so this machine only"
    assert found["takes"] == {"/segment": unsigned, "/segment/web": unsigned, "/v1": "a source's write key"}
    assert list(found["processors"]) == ["consent"]
    assert found["log"] == f"{tmp_path}/data/log.db"
    assert os.listdir(tmp_path) == ["stream.toml"]


def test_without_json_it_says_the_same_for_the_eye(run, tmp_path):
    (tmp_path / "stream.toml").write_text(FREE)
    result = run("check")
    assert result.exit_code == 0, result.output
    assert "receiver       http://127.0.0.1:0\n               /segment: unsigned requests" in result.stdout
    assert "/v1: any write key: this machine only" in result.stdout
    assert "processors     profiles, audiences, consent, deletion" in result.stdout
    assert f"store          {tmp_path}/data/state.db" in result.stdout


def test_it_says_what_is_sent_where_and_for_what_and_no_secret(run, tmp_path):
    (tmp_path / "stream.toml").write_text(FREE + GUARDS + SENDING)
    result = run("check")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[4:10] == [
        "processors     profiles, consent, deletion, audiences, forward",
        "syncs          audiences.crm: what is wanted at crm, for marketing",
        "reactors       forward.a: once per event, for internal",
        "destinations   crm: 127.0.0.1:9000; 16 at once; may be private",
        "               forward.a: hooks.example.com:8443; 64 at once, 40/s, 1000/day",
        "purposes       marketing: yes to Advertising; channel email; where nothing was said: deny",
    ]
    found = json.loads(run("check", "--json").stdout)
    assert found["sends"]["audiences.crm"] == {"kind": "sync", "to": "crm", "purposes": ["marketing"]}
    assert found["destinations"]["crm"]["hosts"] == ["127.0.0.1:9000"]
    assert "topsecret" not in result.stdout + json.dumps(found)


def test_it_says_of_every_path_what_it_takes(run, tmp_path):
    text = FREE + "require_header = 'A: b'\n[sources.web]\nsecrets = ['s']\n[sources.old]\n"
    (tmp_path / "stream.toml").write_text(text)
    lines = run("check").stdout.splitlines()
    assert [line.strip() for line in lines if line.startswith("   ")] == [
        "/segment: only requests with its required header",
        "/segment/web: signed requests only",
        "/segment/old: closed: no secret is set for it",
        "/v1: closed: no source has a write_key",
    ]


def test_a_port_that_is_taken_is_named(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "stream.toml").write_text(f"[receiver]\nport = {port}\n")
        result = run("check", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert f"receiver: 127.0.0.1, port {port}: Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("url", "expected"),
    [("sqlite:folder", "folder is a folder"), ("sqlite:file/log.db", "file is not a folder")],
)
def test_a_file_that_cannot_be_is_named(run, tmp_path, url, expected):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "stream.toml").write_text(f"{FREE}[log]\nurl = '{url}'\n")
    result = run("check")
    assert result.exit_code == 1
    assert f"Error: log.url: {tmp_path}/{expected}" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "stream.toml").write_text(FREE)
    tmp_path.chmod(0o500)
    result = run("check")
    tmp_path.chmod(0o700)
    assert result.exit_code == 1
    assert f"log.url: {tmp_path} cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[receiver]\nprot = 1\n", "receiver.prot is not a setting; did you mean port?"),
        ("[processors.profile]\n", "Did you mean profiles?"),
        ("[receiver]\nhost = '0.0.0.0'\n", "secret"),
        ("[processors.deletion]\nafter = 1\n", "processors.deletion.after is not a setting"),
        (f"[processors.forward.a]\nurl = '{HOOK}'\n", "forward.a sends, and nothing may be sent without profiles"),
        (f"{GUARDS}[processors.forward.a]\nurl = '{HOOK}'\npurpose = 'x'\n", "there is no [purposes.x]"),
        (f"{GUARDS}[processors.forward.a]\nurl = '{HOOK}'\nrates = ['1/x']\n", 'processors.forward.a.rates: "1/x"'),
        (f"{DELETING}rates = ['x']\n", 'connectors.crm.rates: "x" is not'),
        ("[purposes.x]\nchannels = ['E mail']\n", "purposes.x.channels: 'E mail' is no channel"),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_one_line(run, tmp_path, text, expected):
    (tmp_path / "stream.toml").write_text(text)
    result = run("check", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert expected in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_answers_in_json(run, name):
    command = main.get_command(click.Context(main), name)
    assert command.name == name
    parts = [command]
    if isinstance(command, click.Group):
        assert command.help and command.help.endswith(".")
        parts = [*command.commands.values(), *([command] if command.invoke_without_command else [])]
    for part in parts:
        assert part.help and part.help.endswith(".")
        assert (part.epilog or "").startswith("Example: stream ")
        assert "--json" in {option for parameter in part.params for option in parameter.opts}
        assert all(option.help for option in part.params if isinstance(option, click.Option))
    assert run(name, "--help").exit_code == 0
