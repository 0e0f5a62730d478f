"""Sealed columns open only in their own row, under their own key, unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud_broker.crypto.sealing import NONCE_BYTES, KeyRing, Place, Sealed, keyed_hash
from cloud_broker.errors import KeysRefused, SealBroken
from cloud_broker.secret import Secret

OLD, NEW = ("old", b"o" * 32), ("new", b"n" * 32)
RING = KeyRing([OLD])
HERE = Place("notion_connections", "connection", "user", "workspace")
places = st.builds(Place, st.text(), st.text(), st.text(), st.text())


def a_seal(text: str = "ntn_secret", place: Place = HERE) -> Sealed:
    return RING.seal(place, {"access": Secret(text), "refresh": Secret("nrt_secret")})


@given(place=places, text=st.text())
def test_what_is_sealed_opens_again(place: Place, text: str) -> None:
    sealed = RING.seal(place, {"access": Secret(text)})
    assert RING.open(place, sealed, "access").reveal() == text


@given(here=places, there=places)
def test_no_other_row_opens_it(here: Place, there: Place) -> None:
    sealed = a_seal(place=here)
    if here != there:
        with pytest.raises(SealBroken):
            RING.open(there, sealed, "access")


@given(data=st.data())
def test_any_flipped_bit_of_the_value_is_found(data: st.DataObject) -> None:
    sealed = a_seal()
    broken = flipped(data, sealed.columns["access"])
    with pytest.raises(SealBroken):
        RING.open(HERE, replace(sealed, columns={"access": broken}), "access")


@given(data=st.data())
def test_any_flipped_bit_of_the_data_key_is_found(data: st.DataObject) -> None:
    sealed = a_seal()
    broken = replace(sealed, wrapped_key=flipped(data, sealed.wrapped_key))
    with pytest.raises(SealBroken):
        RING.open(HERE, broken, "access")


def flipped(data: st.DataObject, raw: bytes) -> bytes:
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(size=st.integers(0, 38))  # the whole has 39: version, nonce, ten letters, tag
def test_a_cut_value_is_found(size: int) -> None:
    sealed = a_seal()
    with pytest.raises(SealBroken):
        RING.open(
            HERE, replace(sealed, columns={"access": sealed.columns["access"][:size]}), "access"
        )


def test_swapped_columns_are_found() -> None:
    sealed = a_seal()
    swapped = {"access": sealed.columns["refresh"], "refresh": sealed.columns["access"]}
    with pytest.raises(SealBroken):
        RING.open(HERE, replace(sealed, columns=swapped), "access")


def test_lengths_are_bound_so_that_parts_cannot_run_together() -> None:
    sealed = a_seal(place=Place("t", "ab", "c", "d"))
    with pytest.raises(SealBroken):
        RING.open(Place("t", "a", "bc", "d"), sealed, "access")


def test_the_same_text_is_never_sealed_alike() -> None:
    first, second = a_seal(), a_seal()
    assert first.columns["access"] != second.columns["access"]
    assert first.wrapped_key != second.wrapped_key


def test_every_nonce_is_new() -> None:
    """Data keys differ anyhow; the key that wraps them is always the same one."""
    seals = [a_seal() for _ in range(20)]
    raws = [raw for seal in seals for raw in (seal.wrapped_key, *seal.columns.values())]
    assert len({raw[1 : 1 + NONCE_BYTES] for raw in raws}) == len(raws)


def test_a_row_that_names_another_key_does_not_open_even_if_the_keys_are_alike() -> None:
    ring = KeyRing([OLD, ("other", OLD[1])])
    sealed = a_seal()
    assert ring.open(HERE, sealed, "access").reveal() == "ntn_secret"
    with pytest.raises(SealBroken):
        ring.open(HERE, replace(sealed, kid="other"), "access")


def test_a_key_that_left_the_front_still_opens() -> None:
    ring = KeyRing([NEW, OLD])
    assert ring.open(HERE, a_seal(), "access").reveal() == "ntn_secret"
    assert ring.seal(HERE, {"access": Secret("x")}).kid == "new"


def test_a_key_that_left_the_ring_is_named() -> None:
    with pytest.raises(KeysRefused, match="old"):
        KeyRing([NEW]).open(HERE, a_seal(), "access")


def test_the_same_id_with_another_key_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        KeyRing([("old", b"x" * 32)]).open(HERE, a_seal(), "access")


def test_a_keyed_hash_needs_the_pepper_and_keeps_parts_apart() -> None:
    pepper = Secret("pepper")
    assert keyed_hash(pepper, "a", "b") == keyed_hash(pepper, "a", "b")
    assert keyed_hash(pepper, "a", "b") != keyed_hash(pepper, "ab")
    assert keyed_hash(pepper, "a") != keyed_hash(Secret("other"), "a")
