"""hf_distill: distil a named-entity recogniser into a small, fast student."""
