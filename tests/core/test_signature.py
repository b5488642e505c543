"""X-Signature: who is let in, and with which part of a body."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core import signature
from tests.signed import BATCH, DELETE, OF_DELETE, OF_TRACK, TRACK


@pytest.mark.parametrize(
    ("secret", "body", "given", "part"),
    [
        ("teehee", TRACK, OF_TRACK, TRACK),
        ("abc123", DELETE, OF_DELETE, DELETE),
        ("abc123", BATCH, OF_DELETE, DELETE),
        ("abc123", b"[" + DELETE + b"]", OF_DELETE, DELETE),
        ("abc123", b'[{"json":' + DELETE + b'},{"json":' + TRACK + b"}]", OF_DELETE, DELETE),
        ("abc123", DELETE, OF_DELETE.upper(), DELETE),
        ("abc123", BATCH, "9f943bd9daf9b9ea7c79718b9a8668b1a7487c85", None),  # of the whole array: nobody sends it
        ("abc123", TRACK, OF_TRACK, None),
        ("teehee", TRACK + b" ", OF_TRACK, None),
        ("teehee", TRACK, "", None),
        ("teehee", TRACK, "\udcff\N{SNOWMAN}", None),
    ],
)
def test_a_signature_is_good_for_the_bytes_that_segment_signed(
    secret: str, body: bytes, given: str, part: bytes | None
) -> None:
    assert signature.signed_part(body, given, [secret]) == part


@pytest.mark.parametrize("secrets", [["abc123", "next"], ["next", "abc123"]])
def test_either_of_two_secrets_will_do(secrets: list[str]) -> None:
    assert signature.signed_part(DELETE, OF_DELETE, secrets) == DELETE


def test_an_empty_secret_verifies_nothing() -> None:
    assert not signature.verified(DELETE, signature.sign(DELETE, ""), "")


def test_an_empty_batch_has_nothing_that_could_be_signed() -> None:
    assert signature.signed_part(b"[]", signature.sign(b"[]", "abc123"), ["abc123"]) is None


@given(st.binary(max_size=100), st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_what_is_signed_is_verified_and_any_other_body_is_not(body: bytes, secret: str) -> None:
    given = signature.sign(body, secret)
    assert signature.verified(body, given, secret)
    assert not signature.verified(body + b"x", given, secret)
