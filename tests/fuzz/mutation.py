"""Damage as files and messages really have it: bits, bytes, sizes, pieces lost, doubled or swapped, words of JSON."""

import random
from collections.abc import Callable

SIZES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)
WORDS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"9" * 40, b'""', b"[]", b"{}", b"[" * 3000, b'{"a":' * 3000),
    *(
        b'"\\ud800"',
        b"\xff\xfe",
        b"\x00",
        b"(" * 300,
        b"'",
        b'"',
        b"\n",
        b",",
        b"../../x",
        b"'shape': (9999999999999,)",
    ),
)
MOST_BYTES = 4 * 2**20  # of a mutant

Mutation = Callable[[random.Random, bytearray], None]


def _place(chance: random.Random, content: bytearray) -> int:
    """Anywhere, and as often near the beginning, where headers are."""
    most = len(content) if chance.random() < 0.5 else min(len(content), 256)
    return chance.randrange(max(1, most))


def _flip(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 2, 8))):
        content[_place(chance, content)] ^= 1 << chance.randrange(8)


def _byte(chance: random.Random, content: bytearray) -> None:
    content[_place(chance, content)] = chance.choice((0, 255, 127, 128, chance.randrange(256)))


def _size(chance: random.Random, content: bytearray) -> None:
    width, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    place = _place(chance, content)
    value = chance.choice(SIZES) % (1 << 8 * width)
    content[place : place + width] = value.to_bytes(width, order)  # type: ignore[arg-type]


def _cut(chance: random.Random, content: bytearray) -> None:
    del content[_place(chance, content) :]


def _lose(chance: random.Random, content: bytearray) -> None:
    start = _place(chance, content)
    del content[start : start + chance.choice((1, 2, 16, 512, 4096))]


def _double(chance: random.Random, content: bytearray) -> None:
    start = _place(chance, content)
    content[start:start] = content[start : start + chance.choice((1, 16, 512, 8192))]


def _zeros(chance: random.Random, content: bytearray) -> None:
    start, length = _place(chance, content), chance.choice((4, 64, 2048))
    content[start : start + length] = bytes(min(length, len(content) - start))


def _word(chance: random.Random, content: bytearray) -> None:
    start = _place(chance, content)
    content[start : start + chance.choice((0, 1, 4, 12))] = chance.choice(WORDS)


def _swap(chance: random.Random, content: bytearray) -> None:
    one, other, length = _place(chance, content), _place(chance, content), chance.choice((4, 64, 1024))
    content[one : one + length] = content[other : other + length]


MUTATIONS: tuple[Mutation, ...] = (_flip, _byte, _size, _size, _cut, _lose, _double, _zeros, _word, _word, _swap)


def mutated(seeds: tuple[bytes, ...], number: int) -> bytes:
    """Mutant `number`: always the same of the same seeds."""
    chance = random.Random(number)
    content = bytearray(seeds[number % len(seeds)])
    for _ in range(chance.choice((1, 1, 2, 4, 12))):
        if not content:
            break
        chance.choice(MUTATIONS)(chance, content)
        del content[MOST_BYTES:]
    return bytes(content)
