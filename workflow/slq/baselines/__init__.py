"""Systems that are evaluated and not trained here: encoders, zero-shot read-outs, re-ranked lists, and the pilot."""
