"""How fast, against what: `python -m benchmarks`. Each module answers one question and says what bounds the answer."""
