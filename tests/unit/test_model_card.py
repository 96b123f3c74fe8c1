import json
from dataclasses import replace
from pathlib import Path

from huggingface_hub import ModelCard
from sae_folders import FACTS, topk_folder

from trainers.model_card import licence_of, write_card


def card_of(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def test_a_card_says_what_the_sae_is_how_good_and_how_to_load_it(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "topk-48")
    write_card(folder)
    card = card_of(folder)
    assert card.data.library_name == "saelens" and "saelens" in card.data.tags
    assert card.data.base_model == "openai-community/gpt2" and card.data.datasets == ["me/text"]
    assert card.data.license == "unknown" and "Licence\n\nNot chosen yet" in card.text
    assert "topk, k = 4) with 48 latents" in card.text and "`transformer.h.1`, 16 values wide" in card.text
    assert "| fraction of variance unexplained (FVU) | 0.25 |" in card.text
    assert "| latents that never fired | 12.5% |" in card.text and "| tokens | 12,345 |" in card.text
    assert 'SAE.load_from_disk("topk-48")' in card.text and 'load_sae("topk-48")' in card.text
    assert "held-out" not in card.text


def test_an_evaluation_comes_into_the_card_when_there_is_one(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    write_card(folder)
    splice = {"ce_clean": 3.25, "ce_spliced": 3.5, "ce_recovered": None}
    evaluation = {"tokens": 50000, "fvu": 0.31, "splice": splice, "density": {"counts": [1, 2]}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    write_card(folder)
    text = card_of(folder).text
    assert "## Quality on held-out text" in text and "| tokens | 50,000 |" in text
    assert "| the same with the reconstruction in place | 3.5 |" in text and "recovered" not in text
    assert text.count("## Use") == 1


def test_what_a_person_wrote_into_a_card_stays(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    write_card(folder)
    assert licence_of(folder) is None
    path = folder / "README.md"
    path.write_text(path.read_text().replace("license: unknown", "license: mit\nlanguage: en") + "\nMy own words.\n")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "fvu": 0.125}))
    write_card(folder, repo_id="me/saes")
    card = card_of(folder)
    assert card.data.license == licence_of(folder) == "mit" and card.data.language == "en"
    assert "My own words." in card.text and "Not chosen yet" not in card.text
    assert "| 0.125 |" in card.text and 'from_pretrained("me/saes", "sae")' in card.text
    write_card(folder, licence="apache-2.0")
    assert licence_of(folder) == "apache-2.0"


def test_a_folder_on_this_machine_is_not_told_to_the_world(tmp_path: Path) -> None:
    model = tmp_path / "secret place" / "my-model"
    model.mkdir(parents=True)
    folder = topk_folder(tmp_path / "sae", replace(FACTS, model_name=str(model)))
    write_card(folder)
    card = card_of(folder)
    assert card.data.base_model is None and "secret place" not in card.content and "`my-model`" in card.text
