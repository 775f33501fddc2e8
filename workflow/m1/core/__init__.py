"""What the stages share: records, prompts, answers, the store, files, messages, settings, the fingerprint of code."""
