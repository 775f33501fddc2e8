"""Call models over HTTP: concurrently, within limits, and never paying twice, because the store keeps answers (B.1)."""
