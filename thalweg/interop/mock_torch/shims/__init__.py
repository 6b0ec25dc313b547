"""What torch's modules have beside thalweg's own names; one module each, dots as underscores."""
