"""`torch` as an import name that thalweg answers to; `thalweg.mock_torch` is its public face."""
