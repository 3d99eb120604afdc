"""Reuse of answers on pairs of messages with nearly the same words, and on paraphrases."""
