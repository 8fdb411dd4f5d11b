"""Where an image comes from: the probability of each training domain and camera, by heads or by a probe on features.

Letters: N images, D domains, C cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointreid.conflict.layers import LayerFeatures
from jointreid.conflict.probe import LinearProbe, probe

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OriginReader:
    """Tells one factor, the domain or the camera, of images.

    Attributes:
        factor: domain or camera.
        layer: whose features the probe reads; empty where the model's own heads tell.
        probe: fitted on train images of the run; None where the model's own heads tell.
        accuracy: of the probe on people it was not fitted on, in [0, 1]; None for heads.
    """

    factor: str
    layer: str = ""
    probe: LinearProbe | None = None
    accuracy: float | None = None

    @property
    def how(self) -> str:
        """The source of the probabilities, in words."""
        if self.probe is None:
            return f"{self.factor}: by the model's own heads"
        known = (
            "" if self.accuracy is None else f", right for {self.accuracy:.1%} of images of people left out of the fit"
        )
        return (
            f"{self.factor}: the model has no {self.factor} heads, so by a linear probe on its features after "
            f"{self.layer}, fitted on train images of the run{known}"
        )

    def posterior(self, features: LayerFeatures) -> Matrix:
        """Return the probability of each class, [N, classes]."""
        if self.probe is not None:
            return self.probe.posterior(features.layers[self.layer])
        found = getattr(features.embeddings, f"{self.factor}_posterior")
        values: Matrix = found.astype(np.float64)
        return values


def fit_reader(
    factor: str, train: LayerFeatures, classes: Sequence[int], pids: Sequence[str], num_classes: int, seed: int
) -> OriginReader:
    """Return the model's own heads as a reader, or fit a probe on the layer that tells the factor best.

    Args:
        factor: domain or camera.
        train: features of train images.
        classes: the class of each.
        pids: who each shows; identities of two domains have different ones.
        num_classes: of the factor.
        seed: of the halves of the identities that choose the layer.
    """
    if getattr(train.embeddings, f"{factor}_posterior") is not None:
        return OriginReader(factor)
    judged = {layer: probe(values, classes, pids, seed) for layer, values in train.layers.items()}
    accuracies = {layer: result.linear for layer, result in judged.items() if result}
    # Equal accuracies: the first layer from the input on.
    layer = max(accuracies, key=lambda name: accuracies[name]) if accuracies else next(iter(train.layers))
    fitted = LinearProbe.fit(train.layers[layer], classes, num_classes)
    return OriginReader(factor, layer, fitted, accuracies.get(layer))
