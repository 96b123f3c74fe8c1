"""Sparse autoencoders in, meaning out."""

from features.attachment import Attached, attach, detach

__all__ = ["Attached", "attach", "detach"]
