"""From a recipe to the untrained model it names, and what is done to one before it is saved."""

from hf_relabel.trainers.models.adapters import merge_adapters
from hf_relabel.trainers.models.building import build_model, set_inference_length

__all__ = ["build_model", "merge_adapters", "set_inference_length"]
