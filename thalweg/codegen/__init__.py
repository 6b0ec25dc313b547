"""From loop IR and kernel templates to LLVM text and object code."""
