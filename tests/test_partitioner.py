import pytest

from stream.log.partitioner import murmur2, partition_of


# Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java
@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_are_hashed_as_in_kafkas_java_client(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed


def test_a_negative_hash_loses_its_sign_and_is_not_negated() -> None:
    assert partition_of(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7


@pytest.mark.parametrize("key", [b"", b"\x00", b"\xff" * 63, b"\xff" * 64, b"\xff" * 65, b"k" * 10_000])
def test_every_key_has_a_partition_and_keeps_it(key: bytes) -> None:
    first = partition_of(key, 4)
    assert first in range(4)
    assert partition_of(key, 4) == first == (murmur2(key) & 0x7FFFFFFF) % 4
