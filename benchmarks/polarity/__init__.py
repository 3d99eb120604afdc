"""Reuse of answers on pairs of messages that are alike in words, and on paraphrases."""
