"""Text in, rows of activations out."""
