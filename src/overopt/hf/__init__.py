"""Hugging Face models and tokenizers at the border: loading, encoding, padding. Shared by policies and rewards."""
