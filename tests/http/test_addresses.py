"""Nothing is sent to this machine or a private network, whatever the URL or the name's server says."""

import pytest

from stream.errors import Dead, Retry
from stream.http.addresses import is_public
from tests.http.conftest import Names, always, asked

INWARD = """
    127.0.0.1 127.8.9.1 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
    100.127.255.255 192.0.0.1 192.0.2.1 198.18.0.1 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:169.254.169.254 ::127.0.0.1 ::8.8.8.8 fe80::1 fe80::1%eth0 fc00::1
    fd12:3456::1 fec0::1 ff02::1 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe
    64:ff9b:1::8.8.8.8 100::1 2001::1 localhost 2130706433 0x7f.1
"""

OUTWARD = "8.8.8.8 1.1.1.1 100.63.255.255 172.32.0.1 2606:4700::1111 2002:808:808:: 64:ff9b::8.8.8.8"


@pytest.mark.parametrize("address", INWARD.split())
def test_an_address_that_leads_inward_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTWARD.split())
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
async def test_a_name_that_resolves_inward_is_not_connected_to(opened, remote, addresses):
    port = remote.url.rpartition(":")[2]
    async with opened(Names(*addresses), allow_private=False) as client:
        with pytest.raises(Retry) as caught:
            await client.perform(asked(f"http://crm.example.com:{port}/"), always, gives=True)
    assert (caught.value.reason, caught.value.outage) == ("private_address", True)
    assert remote.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"])
async def test_a_url_that_names_this_machine_is_not_connected_to(opened, remote, host):
    port = remote.url.rpartition(":")[2]
    async with opened(allow_private=False) as client:
        with pytest.raises((Retry, Dead), match=r"^(private_address|bad_request)$"):
            await client.perform(asked(f"http://{host}:{port}/"), always, gives=True)
    assert remote.connections == 0


async def test_what_the_configuration_allows_is_connected_to(opened, remote):
    port = remote.url.rpartition(":")[2]
    async with opened(Names("127.0.0.1"), allow_private=True) as client:
        found = await client.perform(asked(f"http://crm.example.com:{port}/"), always, gives=True)
    assert found.status == 200
    assert remote.received[0].headers["host"] == f"crm.example.com:{port}"
