"""Run the three front doors and show that they are one: `python examples/front_doors/compare.py`.

The same program in NumPy, TensorFlow-1 and PyTorch style gives the same numbers and the same graph,
character by character.
"""

import runpy
from pathlib import Path

import numpy

import thalweg
import thalweg.numpy
import thalweg.tensorflow

HERE = Path(__file__).parent


def numpy_door():
    """Graph text, and arrays of c and the gradients for x, y and z."""
    found = runpy.run_path(str(HERE / "numpy_style.py"))
    results = [found[name] for name in ("c", "grad_x", "grad_y", "grad_z")]
    return thalweg.numpy.graph_text(*results), [numpy.asarray(r) for r in results]


def tensorflow_door():
    """The same of the TensorFlow-1 program."""
    found = runpy.run_path(str(HERE / "tensorflow_style.py"))
    fetches = [found[name] for name in ("c", "grad_x", "grad_y", "grad_z")]
    return thalweg.tensorflow.graph_text(fetches, found["values"]), found["out"]


def pytorch_door():
    """The same of the PyTorch program."""
    found = runpy.run_path(str(HERE / "pytorch_style.py"))
    results = [found["c"], *(found[name].grad for name in "xyz")]
    text = thalweg.graph_text(*results)
    return text, [r.detach().numpy() for r in results]


DOORS = {"NumPy": numpy_door, "TensorFlow": tensorflow_door, "PyTorch": pytorch_door}


def main():
    shown = {name: door() for name, door in DOORS.items()}
    for name, (text, results) in shown.items():
        print(f"{name} style: c = {float(results[0]):.6f}\n{text}\n")
    texts = {text for text, _ in shown.values()}
    first, *others = (results for _, results in shown.values())
    same = all(numpy.array_equal(a, b) for other in others for a, b in zip(first, other))
    print(f"{len(texts)} graph text among {len(shown)} doors; identical numbers: {same}")
    return len(texts) == 1 and same


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
