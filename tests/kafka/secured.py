"""A broker that asks who is there: by TLS, by passwords, by tokens. All certificates and keys are made here."""

import base64
import datetime
import json
import time
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.brokers.kafka import Extras

USER, PASSWORD = "stream", "the right password"
AUDIENCE, ISSUER = "kafka", "https://tokens.example.com"
LISTENERS = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "PASSWORD": "SASL_PLAINTEXT",
    "SECRET": "SASL_SSL",
    "TOKEN": "SASL_SSL",
}
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_SECURITY = "org.apache.kafka.common.security"
EXPIRED = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)


class Authority:
    """Who signs certificates, here of one broker and of its clients."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.file = str(folder / f"ca-{id(self)}.pem")
        self._ca.cert_pem.write_to_path(self.file)

    @property
    def pem(self) -> str:
        return self._ca.cert_pem.bytes().decode()

    def server(self, **more: object) -> dict[str, str]:
        """A broker's settings for a certificate of 127.0.0.1."""
        issued = self._ca.issue_cert("127.0.0.1", **more)  # type: ignore[arg-type]
        chain = "".join(part.bytes().decode() for part in issued.cert_chain_pems)
        return {"ssl.keystore.type": "PEM", "ssl.keystore.certificate.chain": chain, "ssl.keystore.key": _key(issued)}

    def client(self, **more: object) -> tuple[str, str]:
        """The files of a client's certificate and key."""
        issued = self._ca.issue_cert("stream@example.com", **more)  # type: ignore[arg-type]
        files = self._folder / f"client-{id(issued)}.pem", self._folder / f"key-{id(issued)}.pem"
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
        return str(files[0]), str(files[1])


class Issuer:
    """Who signs tokens (RFC 7519, RS256), and publishes the key to check them with."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, lives_s: float = 3600.0) -> str:
        now = time.time()
        claims = {"sub": USER, "aud": AUDIENCE, "iss": ISSUER, "iat": int(now - 7200), "exp": int(now + lives_s)}
        signed = f"{_part({'alg': 'RS256', 'kid': 'test'})}.{_part(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def published(self) -> str:
        """As a broker reads it: a JSON Web Key Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
        key = {"kty": "RSA", "kid": "test", "alg": "RS256", "use": "sig", "n": _base64(n), "e": "AQAB"}
        return json.dumps({"keys": [key]})


def properties(authority: Authority, keys: Path) -> dict[str, str]:
    """Of a broker with these listeners, which trusts what the authority signs and the keys in the file."""
    expired = authority.server(not_after=EXPIRED)
    scram = {
        f"listener.name.{name}.{mechanism.lower()}.sasl.jaas.config": f"{_SECURITY}.scram.ScramLoginModule required;"
        for name in ("password", "secret")
        for mechanism in _SCRAM
    }
    plain = f'{_SECURITY}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    token = "listener.name.token.oauthbearer.sasl"
    return {
        **authority.server(),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": authority.pem,
        "listener.name.mutual.ssl.client.auth": "required",
        **{f"listener.name.expired.{name}": value for name, value in expired.items()},
        "sasl.enabled.mechanisms": ",".join(("PLAIN", *_SCRAM)),
        "listener.name.password.plain.sasl.jaas.config": plain,
        "listener.name.secret.plain.sasl.jaas.config": plain,
        **scram,
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{token}.jaas.config": f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule required;",
        f"{token}.server.callback.handler.class": f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler",
        "listener.name.token.sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
        "listener.name.token.sasl.oauthbearer.expected.audience": AUDIENCE,
        "listener.name.token.sasl.oauthbearer.expected.issuer": ISSUER,
    }


def extras(keys: Path) -> Extras:
    users = [f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]" for mechanism in _SCRAM]
    return Extras(LISTENERS, tuple(users), (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys.as_uri()}",))


def _key(issued: trustme.LeafCert) -> str:
    # Kafka reads PKCS #8 only.
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _part(value: dict[str, object]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
