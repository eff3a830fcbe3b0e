"""Whether a printed number can be what it says: a share of whole questions, beside base's interval and chance."""
