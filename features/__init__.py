"""Sparse autoencoders in, meaning out."""

from features.attached import Attached
from features.attachment import attach, detach
from features.steering import Steering, steer

__all__ = ["Attached", "Steering", "attach", "detach", "steer"]
