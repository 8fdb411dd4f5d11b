"""Networks: the generated convolution, the trunks built with it, and the re-identification systems."""

from jointreid.models.reid import ModelOutput, ReIDModel, build_model

__all__ = ["ModelOutput", "ReIDModel", "build_model"]
