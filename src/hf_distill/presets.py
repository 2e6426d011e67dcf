"""What a run does where its user says nothing: the recipe, which is the best that is known, or what the *BioBERT
Distillation* script did, whose values are the defaults of the arguments' classes.
"""

from collections.abc import Mapping
from typing import Any

PRESETS = ("recipe", "original")
# Flags that only the script has: who gives one of them wants its defaults.
SCRIPT_ONLY = ("task_name", "lr_params", "batch_size")

# Labels teach a BiLSTM what case means, which it sees and the teacher perhaps does not.
# Smoothed labels would contradict the teacher's probabilities.
BILSTM_LOSS: dict[str, Any] = {
    "logit_loss": "ce",
    "alpha": 0.2,
    "sequence_loss_weight": 1.0,
    "label_smoothing_factor": 0.0,
}
# A new student: configs/recipe.yaml, and configs/recipe_small.yaml, which companions are, too.
BILSTM: dict[str, Any] = {
    "vocabulary_size": 5000,
    "embedding_type": "svd",
    "embedding_size": 96,
    "hidden_size": 96,
    "n_stacks": 5,
    "word_feature_rows": 500,
    "dropout": 0.1,
    "embedding_dropout": 0.1,
}
# Its training, in which each stack reads a fifth of the sentences.
BILSTM_TRAINING: dict[str, Any] = {
    "num_train_epochs": 15.0,
    "learning_rate": 4e-3,
    "per_device_train_batch_size": 160,
}
SMALL_BILSTM: dict[str, Any] = BILSTM | {"n_stacks": 2}
SMALL_BILSTM_TRAINING: dict[str, Any] = BILSTM_TRAINING | {"num_train_epochs": 6.0, "per_device_train_batch_size": 64}
LAYERS_TRAINING: dict[str, Any] = {  # configs/recipe_transformer.yaml
    "transfer_sentences": 48000,
    "num_train_epochs": 3.0,
    "learning_rate": 2e-4,
    "per_device_train_batch_size": 32,
    "logit_loss": "ce",
}


def recipe_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe's values of arguments that are not given.

    Where the recipe knows nothing, of labels alone, of a new TinyBERT or of a student that is trained further (`auto`),
    the classes' own defaults hold.

    Args:
        given: the arguments that the user gives, by name.
    """
    if given.get("student_model_name_or_path"):
        return {} if "model_name" in given else {"model_name": "auto"}
    if given.get("do_train") is False or given.get("student_checkpoint"):
        return {}
    distils = given.get("distillation", True)
    if given.get("model_name", "bilstm") == "bilstm":
        training = BILSTM_TRAINING | BILSTM_LOSS | {"transfer_sentences": 96000}
        values = BILSTM | {"export": "onnx"} | (training if distils else {})
    else:
        values = LAYERS_TRAINING if distils and given.get("student_layers") else {}
    no_augmentation = all(given.get(name) == 0 for name in ("lwtr_p", "mr_p", "sis_p"))
    vocabulary = given.get("embedding_type") == "bert" or given.get("tokenizer_name") or given.get("prune_vocabulary")
    unfit = {
        "sequence_loss_weight": given.get("logit_loss", "ce") != "ce",
        "transfer_sentences": no_augmentation or "augmentation_rounds" in given,
        "embedding_type": not (given.get("teacher_model_name_or_path") or given.get("embeddings_from")),
        "vocabulary_size": vocabulary,
        "n_stacks": not distils,  # whose epochs are too few for several
    }
    return {name: value for name, value in values.items() if name not in given and not unfit.get(name)}
