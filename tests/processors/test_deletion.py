import json

import pytest

from processors import deletion
from processors.deletion import Deletion
from stream.building import Setting
from stream.config import Config
from stream.errors import ConfigError
from stream.events import decode
from stream.message import Message

WIRE_FORMS = {  # facts §1.10, word for word
    "webhooks": {"type": "delete", "userId": "019mr8mf4r", "timestamp": "2012-12-02T00:30:08.276Z"},
    "tray's prose": {"type": "delete", "userID": "019mr8mf4r", "timestamp": "2012-12-02T00:30:08.276Z"},
    "partner form": {"type": "delete", "user_id": "019mr8mf4r"},
    "partner spec": {
        "type": "delete",
        "channel": "server",
        "userId": "019mr8mf4r",
        "context": None,
        "integrations": None,
        "messageId": "delete-reg-6543321::job-2-P0OJ3CTID1",
        "projectId": "P0OJ3CTID1",
        "timestamp": "2020-05-09T23:54:49.209Z",
        "receivedAt": "2020-05-09T23:54:49.209Z",
        "sentAt": "2020-05-09T17:49:00.000Z",
        "originalTimestamp": "2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.298768264",
    },
    "functions": {"type": "delete", "userId": "019mr8mf4r", "context": [], "integrations": [], "email": "a@b.c"},
}


@pytest.fixture
def projection():
    return Deletion()


@pytest.mark.parametrize("form", WIRE_FORMS.values(), ids=WIRE_FORMS.keys())
def test_every_form_on_the_wire_is_obeyed_as_of_when_we_received_it(projection, run, form):
    headers = (("received", b"1700000000.500000"), ("signed", b"1"), ("path", b"destination"))
    asked = decode(Message("segment.delete", b"k", json.dumps(form).encode(), headers))
    assert run(projection, [asked]).forgets == {asked.message_id: ("user:019mr8mf4r", 1_700_000_000.5, "segment")}


def test_functions_may_name_an_anonymous_id_alone_or_beside_the_user(projection, event, run, base):
    ran = run(
        projection,
        [
            event("delete", 1, anonymousId="a1", messageId="m1"),
            event("delete", 2, userId="u", anonymousId="a", messageId="m2"),
        ],
    )
    assert ran.forgets == {
        "m1": ("anon:a1", base + 2, "segment"),
        "m2": ("user:u", base + 3, "segment"),
        "m2#anonymous": ("anon:a", base + 3, "segment"),
    }


def test_one_delete_for_each_source_is_a_request_each(projection, event, run):
    ran = run(projection, [event("delete", n, userId="u1", messageId=f"m{n}", space="eu") for n in range(3)])
    assert ran.forgets.keys() == {"m0", "m1", "m2"}
    assert {subject for subject, _, _ in ran.forgets.values()} == {"eu/user:u1"}


def test_an_operator_is_an_authority(projection, event, run):
    ran = run(projection, [event("delete", path="operator", userId="u1", messageId="m")])
    assert ran.forgets["m"][2] == "operator"


@pytest.mark.parametrize("path", ["destination", "sdk"])
def test_on_whichever_path_it_passed_the_receiver_it_is_obeyed(projection, event, run, base, path):
    ran = run(projection, [event("delete", path=path, userId="u1", messageId="m")])
    assert ran.fates == ["applied"]
    assert ran.forgets == {"m": ("user:u1", base + 1, "segment")}


@pytest.mark.parametrize("ids", [{}, {"userId": None}, {"userId": {"id": 1}}, {"groupId": "g"}, {"userId": ""}])
def test_a_delete_of_nobody_is_kept_as_dead(projection, event, run, ids):
    assert run(projection, [event("delete", **ids)]).fates == ["dead:no_subject"]


def test_it_has_no_settings_and_no_rows(projection, event):
    assert projection.subjects(event("delete", userId="u1")) == ()
    with pytest.raises(ConfigError, match=r"processors\.deletion\.wait"):
        deletion.build(Setting(Config(), {}), {"wait": 1})
