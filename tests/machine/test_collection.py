"""The search for cyclic garbage is switched for a while, and then is as it was before."""

import gc

import pytest

from jointreid.machine.collection import collection


@collection(on=False)
def fail() -> None:
    assert not gc.isenabled()
    with collection(on=True):
        assert gc.isenabled()
    assert not gc.isenabled()
    raise ValueError("found")


def test_the_search_is_as_before_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="found"):
        fail()
    assert gc.isenabled()
