"""Inference through onnxruntime: the PyTorch models exported, with the output bound once."""

from __future__ import annotations

import io
from typing import Any

from . import SIZES, Run
from . import torch_models as models


def build(name: str, threads: int) -> Run:
    import onnxruntime as ort
    import torch

    size: Any = SIZES[name]
    torch.manual_seed(0)
    if name.startswith("resnet50"):
        model, inputs = models.resnet50(torch), torch.randn(size.batch, 3, size.size, size.size)
    else:
        model, inputs = models.bert(torch, size), torch.randn(size.batch, size.length, size.width)
    file = io.BytesIO()
    torch.onnx.export(model.eval(), (inputs,), file, dynamo=False, input_names=["x"],
                      output_names=["y"], opset_version=17)  # fmt: skip
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", inputs.numpy())
    binding.bind_output("y")
    return Run(lambda: session.run_with_iobinding(binding), lambda: None)
