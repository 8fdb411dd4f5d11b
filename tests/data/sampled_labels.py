"""Labels of a few images, from which the tests of samplers draw batches of P identities with K images each."""

import numpy as np

P, K = 4, 3
# Identities with 1 to 11 images each, unsorted, labels with gaps.
SIZES = dict(zip([3, 1, 40, 8, 9, 20, 5], [1, 2, 3, 4, 7, 9, 11], strict=True))
LABELS = np.random.default_rng(7).permutation(np.repeat(list(SIZES), list(SIZES.values())))
