"""Let the demo language model continue a text.

python examples/demo_lm/sample.py 'def read_header(self,' --seed 1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = Path(__file__).parent / "model"


def sample(prompt: str, num_tokens: int, temperature: float, top_p: float, seed: int) -> str:
    """`prompt` and what the model puts after it, up to the end of the file that it imagines."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    torch.manual_seed(seed)
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(
        **inputs, max_new_tokens=num_tokens, do_sample=True, temperature=temperature, top_p=top_p, top_k=0
    )
    return tokenizer.decode(output[0], skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Let the demo language model continue a text.")
    parser.add_argument(
        "prompt", nargs="?", default="def read_header(self,", help=r"may contain \n; best without blanks at its end"
    )
    parser.add_argument("--num-tokens", type=int, default=120)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    prompt = arguments.prompt.replace("\\n", "\n")
    print(sample(prompt, arguments.num_tokens, arguments.temperature, arguments.top_p, arguments.seed))


if __name__ == "__main__":
    main()
