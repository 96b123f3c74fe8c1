"""What is captured is what the whole model computes, the rest is not run, padding changes nothing."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_bert, tiny_gpt2, tiny_llama
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from producers.hooked_model import HookedModel
from producers.hookpoints import Hooks, find_hookpoints
from producers.model_facts import describe_model
from producers.pretrained import auto_class
from shared.config import ModelConfig
from shared.errors import UserError
from shared.hookpoints import first_tensor

MODELS = {
    "gpt2": (tiny_gpt2, AutoModelForCausalLM, "transformer.h.{}", "transformer.h.1.mlp"),
    "llama": (tiny_llama, AutoModelForCausalLM, "model.layers.{}", "model.layers.1.mlp"),
    "bert": (tiny_bert, AutoModel, "encoder.layer.{}", "encoder.layer.1.intermediate"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: make(root / name) for name, (make, *_) in MODELS.items()}


def config(folder: Path, *hookpoints: str, **more: str) -> ModelConfig:
    return ModelConfig(name=str(folder), hookpoints=hookpoints, **more)


def batch(num_tokens: int = 12, padding: int = 0) -> tuple[Tensor, Tensor]:
    token_ids = torch.randint(5, VOCAB_SIZE, (4, num_tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(4, num_tokens + padding, dtype=torch.bool)
    mask[:, num_tokens:] = False
    return nn.functional.pad(token_ids, (0, padding)), mask


@pytest.mark.parametrize("kind", MODELS)
def test_layer_outputs_equal_hidden_states(kind: str, folders: dict[str, Path]) -> None:
    _, auto, layer, _ = MODELS[kind]
    token_ids, mask = batch()
    expected = (
        auto.from_pretrained(folders[kind])
        .eval()(token_ids, attention_mask=mask, output_hidden_states=True)
        .hidden_states
    )
    model = HookedModel.load(config(folders[kind], layer.format(0), layer.format(1)))
    captured = model.capture(token_ids, mask)
    torch.testing.assert_close(captured[layer.format(0)], expected[1], rtol=0, atol=0)
    torch.testing.assert_close(captured[layer.format(1)], expected[2], rtol=0, atol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_inputs_and_outputs_equal_plain_hooks_of_the_full_forward(kind: str, folders: dict[str, Path]) -> None:
    _, auto, _, part = MODELS[kind]
    token_ids, mask = batch()
    plain = auto.from_pretrained(folders[kind]).eval()
    seen: dict[str, Tensor] = {}
    module = plain.get_submodule(part)
    module.register_forward_pre_hook(lambda _, args: seen.update({"in": args[0].detach()}))
    module.register_forward_hook(lambda _, args, output: seen.update({"out": output.detach()}))
    plain(token_ids, attention_mask=mask)
    captured = HookedModel.load(config(folders[kind], part, part + ":in")).capture(token_ids, mask)
    assert torch.equal(captured[part], seen["out"])
    assert torch.equal(captured[part + ":in"], seen["in"])


@pytest.mark.parametrize("kind", MODELS)
def test_padding_changes_nothing_before_it(kind: str, folders: dict[str, Path]) -> None:
    last = MODELS[kind][2].format(2)
    model = HookedModel.load(config(folders[kind], last))
    padded = model.capture(*batch(padding=5))[last][:, :12]
    torch.testing.assert_close(padded, model.capture(*batch())[last], rtol=1e-5, atol=1e-6)


def test_layers_after_the_last_hookpoint_are_not_run(folders: dict[str, Path]) -> None:
    model = HookedModel.load(config(folders["gpt2"], "transformer.h.0.mlp", "transformer.h.1:in"))
    ran: list[str] = []
    for name in ("transformer.h.0", "transformer.h.1", "transformer.h.1.attn", "transformer.h.2", "lm_head"):
        module = model.model.get_submodule(name)
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    captured = model.capture(*batch())
    assert "transformer.h.2" not in ran and "transformer.h.1.attn" not in ran and "lm_head" not in ran
    assert set(captured) == {"transformer.h.0.mlp", "transformer.h.1:in"}


def test_order_of_hookpoints_does_not_decide_where_the_forward_stops(folders: dict[str, Path]) -> None:
    model = HookedModel.load(config(folders["gpt2"], "transformer.h.2", "transformer.h.0"))
    assert len(model.capture(*batch())) == 2


def test_the_base_models_prefix_may_be_left_out_or_added(folders: dict[str, Path]) -> None:
    token_ids, mask = batch()
    short = HookedModel.load(config(folders["gpt2"], "h.1")).capture(token_ids, mask)["h.1"]
    full = HookedModel.load(config(folders["gpt2"], "transformer.h.1")).capture(token_ids, mask)["transformer.h.1"]
    assert torch.equal(short, full)
    assert describe_model(config(folders["bert"], "bert.encoder.layer.1")).widths == {"bert.encoder.layer.1": 16}


def test_an_encoder_sees_what_comes_after(folders: dict[str, Path]) -> None:
    model = HookedModel.load(config(folders["bert"], "encoder.layer.1"))
    token_ids, mask = batch()
    changed = token_ids.clone()
    changed[:, -1] = 7
    before, after = (model.capture(one, mask)["encoder.layer.1"][:, 0] for one in (token_ids, changed))
    assert not torch.allclose(before, after)


SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCAB_SIZE, "max_position_embeddings": 64}
OTHERS = {
    "gpt_neox": ("gpt_neox.layers.1", {}, 64),
    "qwen3": ("model.layers.1.mlp", {"num_key_value_heads": 2, "head_dim": 8}, 64),
    "gemma2": ("model.layers.1", {"num_key_value_heads": 2, "head_dim": 8}, 64),
    "roberta": ("encoder.layer.1", {}, 62),
    "modernbert": ("layers.1", {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}, 64),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_families_are_described_and_stopped_like_these(kind: str, tmp_path: Path) -> None:
    hookpoint, options, positions = OTHERS[kind]
    made = AutoConfig.for_model(kind, **{"hidden_size": 32, "intermediate_size": 48, **SIZES, **options})
    made.save_pretrained(tmp_path)
    facts = describe_model(config(tmp_path, hookpoint, hookpoint + ":in"))
    assert facts.widths == {hookpoint: 32, hookpoint + ":in": 32} and facts.max_positions == positions
    model = auto_class(made).from_config(made).eval()
    seen: list[Tensor] = []
    handle = model.get_submodule(hookpoint).register_forward_hook(lambda _, args, out: seen.append(first_tensor(out)))
    token_ids, mask = batch()
    with torch.no_grad():
        model(token_ids, attention_mask=mask)
    handle.remove()
    captured = HookedModel(model, (hookpoint,), kind).capture(token_ids, mask)
    assert torch.equal(captured[hookpoint], seen[0])


def test_values_are_taken_before_a_later_layer_can_change_them_in_place() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Embedding(9, 4), nn.ReLU(inplace=True), nn.Identity()

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.third(self.second(self.first(input_ids)))

    model = HookedModel(InPlace(), ("first", "third"), "in-place")
    captured = model.capture(torch.arange(8).view(2, 4), torch.ones(2, 4))
    assert (captured["first"] < 0).any() and not (captured["third"] < 0).any()


def test_description_needs_no_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    names = ("transformer.h.1", "transformer.h.1.mlp.c_fc", "transformer.h.0:in")
    facts = describe_model(config(folders["gpt2"], *names))
    assert facts.widths == {"transformer.h.1": 16, "transformer.h.1.mlp.c_fc": 64, "transformer.h.0:in": 16}
    loaded = AutoModelForCausalLM.from_pretrained(folders["gpt2"])
    assert facts.num_parameters == loaded.num_parameters() and facts.weight_bytes == 4 * facts.num_parameters
    assert (facts.dtype, facts.vocab_size, facts.max_positions) == ("float32", VOCAB_SIZE, 64)
    (tmp_path / "config.json").write_bytes((folders["gpt2"] / "config.json").read_bytes())
    assert describe_model(config(tmp_path, "h.1")).widths == {"h.1": 16}


def test_weights_are_counted_in_their_dtype(folders: dict[str, Path]) -> None:
    facts = describe_model(config(folders["llama"], "model.layers.0", dtype="bfloat16"))
    assert facts.dtype == "bfloat16" and facts.weight_bytes == 2 * facts.num_parameters
    assert describe_model(config(folders["llama"], "model.layers.0"), gpus=1).dtype == "bfloat16"


def test_revision_of_a_folder_changes_with_its_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    first = describe_model(config(folders["gpt2"], "h.0")).revision
    assert first == describe_model(config(folders["gpt2"], "h.0")).revision
    for path in folders["gpt2"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert describe_model(config(tmp_path, "h.0")).revision == first
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    assert describe_model(config(tmp_path, "h.0")).revision != first


def test_a_wrong_hookpoint_names_the_nearest(folders: dict[str, Path]) -> None:
    with pytest.raises(
        UserError, match=r"no module 'transformer\.h\.99' in .*; nearest: transformer\.h\.2, transformer\.h\.1"
    ):
        describe_model(config(folders["gpt2"], "transformer.h.99"))


@pytest.mark.parametrize(
    ("hookpoint", "message"),
    [("transformer.h", "a forward does not reach transformer.h"), ("transformer.wpe", "one vector for each token")],
)
def test_modules_that_give_no_rows_are_refused(hookpoint: str, message: str, folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=message):
        describe_model(config(folders["gpt2"], hookpoint))
    with pytest.raises(UserError, match=message):
        HookedModel.load(config(folders["gpt2"], hookpoint)).capture(*batch())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "there is no folder ./nowhere"),
        ("nobody/nothing-at-all", "neither a folder nor in the Hugging Face cache"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        describe_model(ModelConfig(name=name, hookpoints=("h.0",)))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        describe_model(config(tmp_path, "h.0"))
    (tmp_path / "config.json").write_text('{"model_type": "windmill"}')
    with pytest.raises(UserError, match="is not a model"):
        describe_model(config(tmp_path, "h.0"))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"nonsense")])
def test_missing_or_damaged_weights_are_refused(damage: Callable[[Path], object], tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "model")
    damage(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"cannot load the weights of") as caught:
        HookedModel.load(config(folder, "h.0"))
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "model")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"n_layer": 3', '"n_layer": 4'))
    with pytest.raises(UserError, match=r"lacks 12 weights, such as transformer\.h\.3"):
        HookedModel.load(config(folder, "h.0"))


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="encoder-decoder"):
        describe_model(config(tmp_path, "encoder.block.0"))


def test_hooks_fall_silent_when_removed() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    hooks = Hooks(find_hookpoints(model, ["0"], "a model"))
    hooks.remove()
    hooks.begin(lambda *_: pytest.fail("a removed hook was called"))
    model(torch.zeros(1, 2))
    assert hooks.missed == ["0"]
