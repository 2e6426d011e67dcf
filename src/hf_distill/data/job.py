"""Job descriptions: an output directory is resumed by the same job and refused to a different one."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

import pyarrow.compute as pc
from datasets import Dataset

from ..files import read_json, write_json
from ..runtime.tags import UserError
from .statistics import sentence_keys

JOB_NAME = "job.json"
# Arguments that may change when a run is resumed: they do not affect the result, or the job describes their effect
# otherwise (corpora and teachers by content, not by path).
MAY_CHANGE_ON_RESUME = frozenset(
    """
    output_dir signals_dir comment path_to_train path_to_val path_to_test path_to_unlabeled path_to_annotations
    save_augmented input_format misaligned nested tag_names unlabeled_dataset unlabeled_dataset_config_name
    unlabeled_column
    lwtr_p mr_p sis_p mr_across_types dataset_name
    dataset_config_name token_column tag_column input_scheme entity_type rename_types entity_aliases teacher_scheme
    teacher_model_name_or_path teacher_checkpoint do_eval do_predict
    log_level log_level_replica log_on_each_node logging_strategy logging_steps logging_first_step disable_tqdm
    report_to run_name project save_total_limit resume_from_checkpoint dataloader_num_workers
    dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor
    dataloader_multiprocessing_context dataloader_in_order use_cpu local_rank per_device_eval_batch_size
    push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision ddp_backend
    ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers min_teacher_f1 trust_remote_code do_train_baseline
    measure_time export int8 target_precision accelerator_config debug skip_memory_metrics
    """.split()
)


def describe_job(arguments: Iterable, corpora: Mapping[str, Dataset], teachers: Iterable[str]) -> dict:
    """Describe what determines the result of a run: arguments, digests of the corpora, teacher fingerprints."""
    job = {
        field.name: getattr(group, field.name)
        for group in arguments
        for field in dataclasses.fields(group)
        if field.init and field.name not in MAY_CHANGE_ON_RESUME
    }
    job = {name: value.value if isinstance(value, Enum) else value for name, value in job.items()}
    for name, dataset in corpora.items():
        digest = hashlib.sha256(sentence_keys(dataset).tobytes())
        for batch in dataset.with_format("arrow").iter(10_000):
            tags = pc.binary_join(batch["tags"], " ").fill_null("").to_pylist()
            digest.update("".join(f"{sequence}\n" for sequence in tags).encode())
        job[f"{name} data"] = digest.hexdigest()[:16]
    job["teacher"] = [fingerprint[:16] for fingerprint in teachers]
    return json.loads(json.dumps(job, default=str))


def read_job(folder: Path) -> dict:
    """Return the job that an output directory belongs to.

    Raises:
        UserError: its description is missing or damaged.
    """
    try:
        job = read_json(folder / JOB_NAME)
    except UserError:
        job = {}
    if not job:
        raise UserError(
            f"{folder / JOB_NAME} is missing or damaged, so that nobody knows what {folder} holds. Choose another "
            "--output_dir, or remove that folder."
        )
    return job


def reserve_output_dir(folder: str | Path, job: Mapping) -> None:
    """Reserve an output directory for a job, unless it contains the results of a different job.

    Raises:
        UserError: the directory contains a different job; the message lists the differences.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {folder} is a file; give the name of a folder.")
    path = folder / JOB_NAME
    in_use = any((folder / name).exists() for name in ("config.json", "baseline", "tokenizer")) or any(
        folder.glob("checkpoint-*")
    )
    if in_use and path.exists():
        previous = read_job(folder)
        different = [name for name in sorted({*previous, *job}) if previous.get(name) != job.get(name)]
        if different:
            changes = "; ".join(f"{name}: {previous.get(name)} there, {job.get(name)} now" for name in different[:5])
            more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
            raise UserError(
                f"{folder} holds a different run ({changes}{more}). Choose another --output_dir, or remove that folder."
            )
    elif in_use:
        raise UserError(f"{folder} holds a model that this program did not put there. Choose another --output_dir.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, job)
