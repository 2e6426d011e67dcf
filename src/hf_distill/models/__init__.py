"""Student models of our own. Their files import torch and transformers only: the Hub carries them as remote code."""

from transformers import AutoConfig, AutoModelForTokenClassification

from .configuration_bilstm import BiLSTMConfig
from .modeling_bilstm import BiLSTMForTokenClassification

__all__ = ["BiLSTMConfig", "BiLSTMForTokenClassification"]

AutoConfig.register("bilstm", BiLSTMConfig)
AutoModelForTokenClassification.register(BiLSTMConfig, BiLSTMForTokenClassification)
# So that save_pretrained puts the two files beside the weights, for users who do not have this package.
BiLSTMConfig.register_for_auto_class()
BiLSTMForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
