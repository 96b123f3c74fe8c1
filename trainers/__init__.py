"""Rows of activations in, sparse autoencoders out."""

from trainers.activation_scale import activation_scale
from trainers.sae_facts import SaeFacts
from trainers.saelens_format import load_sae, read_facts
from trainers.trainer import Report, Trainer

__all__ = ["Report", "SaeFacts", "Trainer", "activation_scale", "load_sae", "read_facts"]
