"""One peer doing one work, on command: ``python -m benchmarks.worker PEER WORK THREADS``.

Commands arrive as lines on standard input, an answer in JSON leaves for each on the stream that
was standard output (what the peer prints goes to standard error):

    time N     seconds for N steps, waiting for the last
    memory     the process's peak resident bytes
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

from .peers import by_name


def main() -> None:
    peer, work, threads = by_name(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        start = time.perf_counter()
        run = peer.build(work, threads)
        built = time.perf_counter()
        run.step()
        run.wait()
        answer(build=built - start, first=time.perf_counter() - built)
        for line in sys.stdin:
            command, *arguments = line.split()
            if command == "time":
                start = time.perf_counter()
                for _ in range(int(arguments[0])):
                    run.step()
                run.wait()
                answer(seconds=time.perf_counter() - start)
            elif command == "memory":
                answer(bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}"[:500])


if __name__ == "__main__":
    main()
