"""The bottom layer: element types, promotion, devices, flags and errors; imports nothing above."""
