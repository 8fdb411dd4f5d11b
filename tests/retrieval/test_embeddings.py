"""Embeddings check themselves."""

import numpy as np
import pytest

from jointreid.messages.errors import JointreidError
from jointreid.retrieval.embeddings import Embeddings


def test_fields_of_different_lengths_are_refused() -> None:
    with pytest.raises(JointreidError, match="different lengths"):
        Embeddings(np.zeros((2, 3), np.float32), np.array(["a"]), np.array([0]), np.array(["x"]))
