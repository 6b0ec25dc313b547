"""Proofs of op rules that need no device: central differences, simulated ranks, random graphs."""
