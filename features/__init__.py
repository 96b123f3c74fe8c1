"""Sparse autoencoders in, meaning out."""

from features.attachment import Attached, attach, detach
from features.steering import Steering, steer

__all__ = ["Attached", "Steering", "attach", "detach", "steer"]
