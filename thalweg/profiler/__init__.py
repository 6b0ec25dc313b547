"""`torch.profiler`: where the time of a program goes, kernel by kernel.

    with thalweg.profiler.profile() as prof:
        train_step()
        thalweg.synchronize()
    print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))
    prof.export_chrome_trace("trace.json")      # for chrome://tracing or ui.perfetto.dev

Events are launches of native kernels, steps that run in Python (NumPy references, host ops), and
blocks marked with `record_function`. Kernels know how many operations they compute and how many
bytes they must move at least, so the table also says what share of this machine's measured
roofline each reaches (`thalweg.profiler.machine`).
"""

from .events import EventList, FunctionEvent
from .profile import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)
