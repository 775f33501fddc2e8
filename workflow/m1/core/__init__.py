"""Code that the stages share: records, prompts, answers, the store, files, messages, settings, fingerprints of code."""
